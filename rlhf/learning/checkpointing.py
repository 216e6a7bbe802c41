"""Checkpoints that are whole or invisible, and the callback that ties a Trainer to its run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINING_ARGS_NAME

from rlhf.contract.run_dir import CHECKPOINTS, FINAL, folder_aside, newest_checkpoint, sealed_folder
from rlhf.learning.adapters import adapter_layers, load_adapter, publish_adapter, save_adapter
from rlhf.learning.finite_steps import FiniteSteps
from rlhf.learning.gathering import gather_model
from rlhf.learning.processes import is_first_process, wait_for_all
from rlhf.learning.reporting import HandedBack, Reporter, stop_requested
from rlhf.learning.sharding import is_sharded, read_whole
from rlhf.learning.stops import NonFiniteError, Rule, require_finite, require_rules

KEPT_CHECKPOINTS = 2


class SealedCheckpoints(FiniteSteps):
    """Mixin, named before a Trainer class: its checkpoints are written aside, hashed, fsynced and renamed.

    What is left in a checkpoint: safetensors weights, the tokenizer, and the optimizer, scheduler and RNG states that
    torch reads back with weights_only. No pickle that runs code. Where adapters are trained, their weights alone.
    """

    args: TrainingArguments
    state: TrainerState
    model: nn.Module
    # Where Trainer must write while a checkpoint is being sealed.
    _aside: Path | None = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.require_finite_steps()
        require_finite_weights(self.model, self.state.global_step)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with sealed_together(folder) as part:
            self._aside = part
            # Trainer's own method, not the next in line: TRL's would first write a model card beside the checkpoints.
            Trainer._save_checkpoint(self, model, trial)  # type: ignore[arg-type]
            wait_for_all()
            if is_first_process():
                lift_files(part / folder.name, part)
        self._aside = None
        if is_first_process():
            forget_old_checkpoints(Path(self.args.output_dir))

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or self.args.output_dir)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        if adapter_layers(self.model):
            whole = gather_model(self.model)  # type: ignore[arg-type]
            if whole is not None and is_first_process():
                save_adapter(whole, folder)
            return
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        # A pickle of the arguments that nothing of ours reads.
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if adapter_layers(self.model) and not is_sharded(self.model):  # whose checkpoints hold the whole model besides
            load_adapter(self.model, Path(resume_from_checkpoint))  # type: ignore[arg-type]
            return
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]


class ReportToRun(TrainerCallback):
    """Feeds the run's reporter, stops the Trainer on request after a checkpoint, and ends a run that diverged.

    Args: rules: what else ends it.
    """

    def __init__(self, run_dir: Path, *, stage: str, rules: Sequence[Rule] = ()) -> None:
        self.run_dir = run_dir
        self.stage = stage
        self.rules = rules
        self.reporter: Reporter | None = None
        self.handed_back = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.reporter = Reporter(
                self.run_dir, stage=self.stage, total_steps=state.max_steps, first_step=state.global_step
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.reporter is not None:
            self.reporter.step(self.count_steps(state))
        if stop_requested() and self.may_stop() and not control.should_training_stop:
            control.should_save = True
            control.should_training_stop = True
            self.handed_back = True

    def count_steps(self, state: TrainerState) -> int:
        """Return how many of state.max_steps are behind."""
        return state.global_step

    def may_stop(self) -> bool:
        """Whether a checkpoint saved now can be resumed."""
        return True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, (int, float))}
        require_finite(state.global_step, values)
        if self.reporter is not None:
            self.reporter.log(state.global_step, values)
        require_rules(self.rules, state.log_history)


def train_sealed(trainer: Trainer, report: ReportToRun) -> None:
    """Train from the newest sound checkpoint of the run, if any, to the end, and report to the run.

    Raises: HandedBack when the worker asked for it (a checkpoint was saved), StopError.
    """
    trainer.add_callback(report)
    checkpoint = newest_checkpoint(report.run_dir)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if report.handed_back:
        raise HandedBack(f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}, checkpoint saved")
    require_finite_weights(trainer.model, trainer.state.global_step)


def save_final(
    run_dir: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    write_more: Callable[[Path], None] | None = None,
) -> Path:
    """Publish the trained model with its tokenizer, and what write_more puts beside them, as checkpoints/final.

    A policy is whole: an adapter is merged into the model first, and lies beside it in the folder `adapter`. Weights that
    lie in pieces are gathered by the first process, with the help of all.

    Returns: the folder.
    """
    folder = run_dir / CHECKPOINTS / FINAL
    whole = gather_model(model)
    with sealed_together(folder) as part:
        if whole is not None and is_first_process():
            publish_adapter(whole, part)
            whole.save_pretrained(part)
            tokenizer.save_pretrained(part)
            if write_more is not None:
                write_more(part)
    return folder


@contextmanager
def sealed_together(folder: Path) -> Iterator[Path]:
    """Yield to every process the folder aside that the first one makes, seals and renames: see `sealed_folder`.

    All have left before it is sealed, and it is sealed before any goes on.
    """
    if not is_first_process():
        wait_for_all()
        yield folder_aside(folder)
        wait_for_all()
    else:
        with sealed_folder(folder) as part:
            wait_for_all()
            yield part
            wait_for_all()  # each writes its own random state: what is not there when the folder is sealed is not in it
    wait_for_all()


def require_finite_weights(model: nn.Module, step: int) -> None:
    """Raise NonFiniteError, naming a parameter, when the model holds NaN or infinity: such a model is never saved."""
    for name, parameter in model.named_parameters():
        if not read_whole(parameter.isfinite().all()):
            raise NonFiniteError(f"non-finite weights in {name} at step {step}; lower learning_rate or max_grad_norm")


def lift_files(source: Path, target: Path) -> None:
    """Move everything in `source` up into `target` and remove `source`."""
    for path in source.iterdir():
        path.rename(target / path.name)
    source.rmdir()


def forget_old_checkpoints(folder: Path) -> None:
    """Remove all but the newest checkpoints of a run."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[1].isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.split("-")[1]))[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(path)
