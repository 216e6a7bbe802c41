"""The loop of pre-training and fine-tuning: step, log, save, stop, resume."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.run_dir import CHECKPOINTS
from rlhf.contract.settings import TrainingConfig
from rlhf.learning.adapters import adapter_layers, load_adapter, save_adapter
from rlhf.learning.checkpointing import save_final, sealed_together
from rlhf.learning.gathering import gather_model
from rlhf.learning.processes import is_first_process, sum_gradients, sum_over_processes
from rlhf.learning.reporting import HandedBack, Reporter
from rlhf.learning.sharding import gather_optimizer, read_whole, restore_optimizer
from rlhf.learning.stops import require_finite

STATE = "training_state.pt"
KEPT_CHECKPOINTS = 2


class TrainingLoop:
    """Moves a model by its optimizers; what a step learns from is a function of the step's number alone.

    So the step is the data cursor, and a resumed run sees the batches the first one would have seen.

    Args:
        config: steps, clipping, and when to log and save.
        run_dir: the run directory; its newest sealed checkpoint, if any, is taken up by `resume`.
        stage: what is being done, a short phrase for people.
        model, tokenizer: saved together in every checkpoint.
        optimizers: their groups' rates are the peaks that the schedule scales.
        n_steps: optimizer steps in all.
        hold_ratio: share of the steps at the peak rate between warm-up and linear decay.
    """

    def __init__(
        self,
        config: TrainingConfig,
        run_dir: Path,
        *,
        stage: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        optimizers: list[Optimizer],
        n_steps: int,
        hold_ratio: float = 0.0,
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.model = model
        self.tokenizer = tokenizer
        self.optimizers = optimizers
        self.n_steps = n_steps
        self.hold_ratio = hold_ratio
        self.stage = stage
        self.peak_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self.finished_steps = 0
        # Loss and gradient norm of the steps since the last log, left on the device until then.
        self._rows_of: Callable[[int], list[int]] = lambda step: []
        self._unlogged: list[tuple[torch.Tensor, torch.Tensor]] = []

    def run(
        self,
        compute_losses: Callable[[int], Iterable[torch.Tensor]],
        *,
        rows_of: Callable[[int], list[int]] | None = None,
    ) -> dict[str, float]:
        """Train to the last step and return the last logged metrics.

        Args:
            compute_losses: takes a step's number from 0 and yields what its mean loss is the sum of, scalars with a graph:
                one for each micro-batch; of several processes, each yields its part, as many of them as the others.
            rows_of: takes a step's number from 0 and returns the rows it learns from, to name those of a bad step.
        Raises: NonFiniteError; HandedBack after saving a checkpoint, when the process was asked to stop.
        """
        reporter = Reporter(self.run_dir, stage=self.stage, total_steps=self.n_steps, first_step=self.finished_steps)
        self.model.train()
        self._rows_of = rows_of or (lambda step: [])
        metrics: dict[str, float] = {}
        while self.finished_steps < self.n_steps:
            self._step(compute_losses)
            is_last = self.finished_steps == self.n_steps
            is_stopping = reporter.stop_requested and not is_last
            is_saving = is_stopping or (self.finished_steps % self.config.save_steps == 0 and not is_last)
            # A log looks for what is not a number: a checkpoint must never hold it.
            if is_last or is_saving or self.finished_steps % self.config.logging_steps == 0:
                metrics = self._log(reporter)
            if is_saving:
                self.save_checkpoint()
            if is_stopping:
                raise HandedBack(f"stopped at step {self.finished_steps} of {self.n_steps}, checkpoint saved")
            reporter.step(self.finished_steps)
        return metrics

    def _step(self, compute_losses: Callable[[int], Iterable[torch.Tensor]]) -> None:
        factor = rate_factor(
            self.finished_steps, self.n_steps, warmup_ratio=self.config.warmup_ratio, hold_ratio=self.hold_ratio
        )
        for optimizer, rates in zip(self.optimizers, self.peak_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        parts = []
        for loss in compute_losses(self.finished_steps):
            loss.backward()
            parts.append(loss.detach())
        sum_gradients(self.model.parameters())
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._unlogged.append((sum_over_processes(torch.stack(parts).sum()), read_whole(grad_norm.detach())))
        self.finished_steps += 1

    def _log(self, reporter: Reporter) -> dict[str, float]:
        """Log the means since the last log, or the first step that is not a number; one sync for all of them."""
        steps = torch.stack([torch.stack(pair).float() for pair in self._unlogged]).tolist()
        self._unlogged.clear()
        for number, (loss, grad_norm) in enumerate(steps, self.finished_steps - len(steps) + 1):
            if not math.isfinite(loss + grad_norm):
                require_finite(number, {"loss": loss, "grad_norm": grad_norm}, rows=self._rows_of(number - 1))
        values = {
            "loss": sum(loss for loss, _ in steps) / len(steps),
            "grad_norm": sum(grad_norm for _, grad_norm in steps) / len(steps),
            "learning_rate": self.optimizers[-1].param_groups[0]["lr"],
        }
        reporter.log(self.finished_steps, values)
        return values

    def save_checkpoint(self) -> None:
        """Seal everything a resumed run needs, and drop older checkpoints but one."""
        folder = self.run_dir / CHECKPOINTS / f"checkpoint-{self.finished_steps}"
        model = gather_model(self.model)
        optimizers = [gather_optimizer(self.model, optimizer) for optimizer in self.optimizers]
        with sealed_together(folder) as part:
            if model is not None and is_first_process():
                self._save_state(part, model, optimizers)
        if is_first_process():
            for old in list_checkpoints(self.run_dir)[:-KEPT_CHECKPOINTS]:
                shutil.rmtree(old)

    def _save_state(self, part: Path, model: PreTrainedModel, optimizers: list[dict[str, Any]]) -> None:
        """Write model, optimizers and random state, which is the same in every process."""
        if adapter_layers(model):
            save_adapter(model, part)
        else:
            model.save_pretrained(part)
            self.tokenizer.save_pretrained(part)
        state = {
            "finished_steps": self.finished_steps,
            "optimizers": optimizers,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
        }
        torch.save(state, part / STATE)

    def save_final(self) -> None:
        """Seal the model and its tokenizer as checkpoints/final."""
        save_final(self.run_dir, self.model, self.tokenizer)

    def resume(self, checkpoint: Path) -> None:
        """Take up optimizers, random state and step from a checkpoint whose weights the model has; and its adapter."""
        if adapter_layers(self.model):
            load_adapter(self.model, checkpoint)
        state = torch.load(checkpoint / STATE, weights_only=True)
        for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
            restore_optimizer(self.model, optimizer, optimizer_state)
        torch.set_rng_state(state["rng"])
        torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.finished_steps = state["finished_steps"]


def rate_factor(step: int, n_steps: int, *, warmup_ratio: float, hold_ratio: float) -> float:
    """Return what the peak rate is multiplied by in step 0..n_steps-1: linear rise, hold, linear decay towards 0."""
    n_warmup = round(warmup_ratio * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    n_decay = max(1, n_steps - n_warmup - round(hold_ratio * n_steps))
    return min(1.0, (n_steps - step) / n_decay)


def list_checkpoints(run_dir: Path) -> list[Path]:
    """Return the run's resumable checkpoints, oldest first."""
    return sorted((run_dir / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
