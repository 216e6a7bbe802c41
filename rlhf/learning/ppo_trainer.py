"""PPO on transformers' Trainer: one Trainer step is one optimizer step is one minibatch of a rollout."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints
from rlhf.learning.experience import ScoreScale
from rlhf.learning.folded import folds_kept
from rlhf.learning.policy_update import PolicyUpdate
from rlhf.learning.processes import process_count
from rlhf.learning.ptx import PtxRows
from rlhf.learning.rollouts import RolloutSource
from rlhf.learning.stops import ppo_rules
from rlhf.learning.watch import Watch, tell_alarm

PPO_STATE = "ppo_state.json"
WARMUP_SHARE = 0.03


class NumberedSteps(Dataset[dict[str, Tensor]]):
    """The dataset Trainer counts its steps by; what is learned from comes from rollouts."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def __len__(self) -> int:
        return self.n_steps

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        if number >= self.n_steps:
            raise IndexError(number)
        return {"number": torch.tensor(number)}


class PPOTrainer(SealedCheckpoints, Trainer):
    """Proximal policy optimization of a language model.

    Args:
        models: the policy and the critic to train; they stay in eval mode, so dropout is off everywhere.
        source: draws the rollouts. ptx: rows to learn to write besides, or None.
    """

    model: ActorCritic

    def __init__(
        self,
        config: PPOConfig,
        *,
        models: ActorCritic,
        source: RolloutSource,
        watch: Watch | None = None,
        arguments: TrainingArguments,
        ptx: PtxRows | None = None,
    ) -> None:
        self.config = config
        self.source = source
        self.watch = watch
        self.ptx = ptx
        self.rollouts_started = 0
        self.early_stops = 0
        self.minibatches: list[list[int]] = []
        self.rollout_metrics: dict[str, float] = {}
        super().__init__(
            model=models.eval(), args=arguments, train_dataset=NumberedSteps(arguments.max_steps * process_count())
        )

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps of a rollout that is not stopped early."""
        return self.config.ppo_epochs * self.config.num_minibatches

    @property
    def warming_up(self) -> bool:
        """Whether the rollout under way trains the critic alone."""
        return self.rollouts_started <= self.config.n_warmup_rollouts

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make one AdamW with a rate each for policy and critic."""
        if self.optimizer is None:
            of_policy, of_critic = self.model.trained_parameters()
            groups = [
                {"params": of_policy, "lr": self.config.policy_rate},
                {"params": of_critic, "lr": self.config.critic_rate},
            ]
            # Fused: over a model of 20 million weights a step takes a third of the time on a CPU.
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0, fused=True)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Make the rate a function of rollouts: a short rise, then linearly to 0. Early stops do not slow it."""
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: self.rate_factor())
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def rate_factor(self) -> float:
        """Return the share of the peak rate for the next optimizer step."""
        under_way = self.rollouts_started - (1 if self.minibatches else 0)
        n_rising = math.ceil(WARMUP_SHARE * self.config.rollouts)
        return min(1.0, (under_way + 1) / n_rising) * max(0.0, 1 - under_way / self.config.rollouts)

    def _clip_grad_norm(self, model: Any) -> Tensor:
        # Each by itself: a critic that starts badly would leave the policy nothing of a norm they share.
        groups = [group["params"] for group in self.optimizer.param_groups]
        norms = [self.accelerator.clip_grad_norm_(parameters, self.args.max_grad_norm) for parameters in groups]
        norm = torch.stack(norms).norm()
        self.note_norm(norm)
        return norm

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Learn from the next minibatch, drawing a rollout first when the last one is used up. Returns its loss."""
        if not self.minibatches:
            self.start_rollout()
        started_s = time.monotonic()
        rows = self.minibatches.pop(0)
        loss = self.learn(model, rows)
        self.model.require_same_training()
        self.note_loss(loss, rows)
        self.rollout_metrics["time/train"] += time.monotonic() - started_s
        return loss

    def start_rollout(self) -> None:
        """Draw the next rollout."""
        with folds_kept(self.model):
            self.experience, metrics = self.source.draw(self.rollouts_started, self.model)
        self.model.require_same_training()
        n_tokens = [len(ids) for ids in self.experience.completions]
        self.minibatches = self.source.split(self.rollouts_started, n_tokens)
        self.rollouts_started += 1
        self.update = PolicyUpdate(
            self.config,
            self.experience,
            accelerator=self.accelerator,
            ptx=self.ptx,
            pad_id=self.source.pad_id,
            dtype=self.source.dtype,
            with_policy=not self.warming_up,
        )
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.watch is not None:
            metrics |= self.watch.look(self.experience)
        self.rollout_metrics = {**metrics, "lr_policy": rates[0], "lr_value": rates[1], "time/train": 0.0}

    def learn(self, model: Any, rows: list[int]) -> Tensor:
        """Accumulate the gradient of one minibatch, return its loss, and drop the rest of a rollout that has moved enough."""
        loss, kl = self.update.learn(model, rows, step=self.state.global_step)
        if kl > self.config.target_kl and self.minibatches:
            self.early_stops += 1
            self.minibatches = []
        return loss

    def collect_metrics(self) -> dict[str, float]:
        """Return the metrics of the last rollout and of what was learned from it."""
        metrics = {**self.rollout_metrics, **self.update.metrics.read(), "early_stops": float(self.early_stops)}
        seconds = sum(metrics[f"time/{phase}"] for phase in ("generate", "score", "train"))
        metrics["tokens_per_s"] = int(self.experience.mask.sum()) / max(seconds, 1e-9)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log Trainer's values together with the rollout's."""
        if "loss" in logs:
            logs.update(self.collect_metrics())
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder)
        assert self.source.scale is not None, "checkpoints are saved after a rollout, and the first one fixes the scale"
        state = {
            "rollouts_started": self.rollouts_started,
            "early_stops": self.early_stops,
            "mean": self.source.scale.mean,
            "std": self.source.scale.std,
            "kl_coef": self.source.kl_coef,
        }
        (folder / PPO_STATE).write_text(json.dumps(state), "utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.model.load(folder)
        state = json.loads((folder / PPO_STATE).read_text("utf-8"))
        self.rollouts_started, self.early_stops = state["rollouts_started"], state["early_stops"]
        self.source.restore_scale(ScoreScale(state["mean"], state["std"]), self.model)
        self.source.kl_coef = state["kl_coef"]


class ReportRollouts(ReportToRun):
    """Reports, logs, saves and stops where a rollout is used up, so that no checkpoint needs a half-used one."""

    def __init__(self, run_dir: Path, trainer: PPOTrainer) -> None:
        super().__init__(run_dir, stage="training the policy with PPO", rules=ppo_rules(trainer.config))
        self.trainer = trainer

    def count_steps(self, state: TrainerState) -> int:
        """Return the steps behind, those that an early stop spared included."""
        return self.trainer.rollouts_started * self.trainer.steps_per_rollout - len(self.trainer.minibatches)

    def may_stop(self) -> bool:
        """Whether the rollout is used up."""
        return not self.trainer.minibatches

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        trainer = self.trainer
        if not trainer.minibatches:
            done = trainer.rollouts_started >= trainer.config.rollouts
            control.should_log = True
            control.should_save = not done and trainer.rollouts_started % trainer.config.save_rollouts == 0
            control.should_training_stop = done
        super().on_step_end(args, state, control, **kwargs)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        super().on_log(args, state, control, **kwargs)
        config, watch = self.trainer.config, self.trainer.watch
        if config.alarm == "off" or self.reporter is None:
            return
        is_alarmed = tell_alarm(self.run_dir, state.log_history, curve=watch.curve if watch else ())
        if is_alarmed and config.alarm == "stop":
            control.should_training_stop = True
