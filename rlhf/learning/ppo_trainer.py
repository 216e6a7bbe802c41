"""PPO on transformers' Trainer: one Trainer step is one optimizer step is one minibatch of a rollout."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from rlhf.contract.config import PPOConfig
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints
from rlhf.learning.experience import Experience, Score, ScoreScale, build_experience, measure_scale
from rlhf.learning.generation import generate
from rlhf.learning.logps import token_logps
from rlhf.learning.losses import ppo_policy_losses, ppo_value_losses
from rlhf.learning.rollout_metrics import describe_rollout

PPO_STATE = "ppo_state.json"
WARMUP_SHARE = 0.03
# Far apart, so that no two purposes of one run and no two neighbouring seeds draw the same numbers.
ROLLOUT_SEED_STRIDE = 1_000_003


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
        reference: the frozen policy of the KL penalty.
        score: raw scores of completions.
        prompts: token ids of the prompts, generation prompt included.
        stop_ids: token ids that end a completion.
    """

    model: ActorCritic

    def __init__(
        self,
        *,
        config: PPOConfig,
        arguments: TrainingArguments,
        models: ActorCritic,
        reference: PreTrainedModel,
        score: Score,
        prompts: list[list[int]],
        stop_ids: list[int],
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.config = config
        self.reference = reference.eval().requires_grad_(False)
        self.score = score
        self.prompts = prompts
        self.stop_ids = stop_ids
        self.pad_id = tokenizer.pad_token_id
        self.scale: ScoreScale | None = None
        self.rollouts_started = 0
        self.early_stops = 0
        self.experience: Experience | None = None
        self.minibatches: list[list[int]] = []
        self.rollout_metrics: dict[str, float] = {}
        self.update_metrics: defaultdict[str, list[Tensor]] = defaultdict(list)
        super().__init__(
            model=models.eval(),
            args=arguments,
            train_dataset=NumberedSteps(arguments.max_steps),
        )

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps of a rollout that is not stopped early."""
        return self.config.ppo_epochs * self.config.num_minibatches

    @property
    def warming_up(self) -> bool:
        """Whether the rollout under way trains the critic alone."""
        return self.rollouts_started <= self.config.critic_warmup_rollouts

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make one AdamW with a rate each for policy and critic."""
        if self.optimizer is None:
            groups = [
                {"params": list(self.model.policy.parameters()), "lr": self.config.learning_rate},
                {"params": list(self.model.critic.parameters()), "lr": self.config.value_learning_rate},
            ]
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0)
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
        return torch.stack(norms).norm()

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Learn from the next minibatch, sampling a rollout first when the last one is used up. Returns its loss."""
        if not self.minibatches:
            self.start_rollout()
        started_s = time.monotonic()
        loss = self.learn(model, self.minibatches.pop(0))
        self.rollout_metrics["time/train"] += time.monotonic() - started_s
        return loss

    def start_rollout(self) -> None:
        """Sample, score and split the next rollout into the minibatches of all its passes."""
        config, number = self.config, self.rollouts_started
        prompts = [self.prompts[row] for row in self.choose_prompts(number)]
        started_s = time.monotonic()
        rollouts = generate(
            self.model.policy,
            prompts,
            n=1,
            temperature=config.temperature,
            top_p=1.0,
            max_new_tokens=config.max_new_tokens,
            stop_ids=self.stop_ids,
            seed=config.seed + ROLLOUT_SEED_STRIDE * (number + 1),
            batch_size=max(1, config.rollout_batch_size),
        )
        generated_s = time.monotonic()
        completions = [each[0] for each in rollouts]
        raw_scores = self.score(prompts, [rollout.ids for rollout in completions])
        if self.scale is None:
            # Nothing has been learned yet: these are completions of the reference.
            self.scale = measure_scale(raw_scores)
            self.model.critic.set_scale(self.scale.mean, self.scale.std)
        self.experience = build_experience(
            prompts,
            completions,
            raw_scores,
            models=self.model,
            reference=self.reference,
            scale=self.scale,
            config=config,
            pad_id=self.pad_id,
        )
        self.rollouts_started += 1
        self.minibatches = self.split_rollout(len(prompts), number)
        self.update_metrics.clear()
        self.rollout_metrics = {
            **describe_rollout(self.experience),
            "episode": float(self.rollouts_started * config.rollout_batch_size),
            "kl_coef": config.kl_coef,
            "lr_policy": self.optimizer.param_groups[0]["lr"],
            "lr_value": self.optimizer.param_groups[1]["lr"],
            "time/generate": generated_s - started_s,
            "time/score": time.monotonic() - generated_s,
            "time/train": 0.0,
        }

    def choose_prompts(self, number: int) -> list[int]:
        """Return the prompt numbers of a rollout: every prompt once an epoch, in an order drawn from the seed."""
        n, size = len(self.prompts), self.config.rollout_batch_size
        orders: dict[int, list[int]] = {}
        chosen = []
        for position in range(number * size, (number + 1) * size):
            epoch, place = divmod(position, n)
            if epoch not in orders:
                generator = torch.Generator().manual_seed(self.config.seed + epoch)
                orders[epoch] = torch.randperm(n, generator=generator).tolist()
            chosen.append(orders[epoch][place])
        return chosen

    def split_rollout(self, n_rows: int, number: int) -> list[list[int]]:
        """Return the rows of every minibatch of every pass, each pass in a new order."""
        generator = torch.Generator().manual_seed(self.config.seed + ROLLOUT_SEED_STRIDE * (number + 1))
        minibatches: list[list[int]] = []
        for _ in range(self.config.ppo_epochs):
            shuffled = torch.randperm(n_rows, generator=generator)
            minibatches += [part.tolist() for part in shuffled.tensor_split(self.config.num_minibatches)]
        return minibatches

    def learn(self, model: Any, rows: list[int]) -> Tensor:
        """Accumulate the gradient of one minibatch and return its loss, a mean over its valid tokens.

        Padding, the order of the rows and how they are cut into micro-batches change nothing but rounding.
        """
        experience, config = self.experience, self.config
        assert experience is not None
        n_tokens = int(experience.mask[rows].sum())
        lengths = experience.row_lengths
        totals: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.args.device))
        for part in batch_by_tokens([lengths[row] for row in rows], config.micro_batch_tokens):
            loss = self.micro_loss(model, [rows[number] for number in part], totals) / n_tokens
            self.accelerator.backward(loss)
            totals["loss"] += loss.detach()
        self.note_update(totals, n_tokens)
        if totals["k3"].item() / n_tokens > config.target_kl:
            self.early_stops += 1 if self.minibatches else 0
            self.minibatches = []
        return totals["loss"]

    def micro_loss(self, model: Any, rows: list[int], totals: dict[str, Tensor]) -> Tensor:
        """Return the summed loss of the tokens of some rows and add their statistics to `totals`."""
        experience, config = self.experience, self.config
        assert experience is not None
        batch = experience.batch(rows, pad_id=self.pad_id).to(self.args.device)
        logits, values = model(batch, with_policy=not self.warming_up)
        value_losses, value_clipped = ppo_value_losses(
            values,
            experience.tokens(experience.values, rows),
            experience.tokens(experience.returns, rows),
            value_clip=config.value_clip,
        )
        totals["value_loss"] += value_losses.detach().sum()
        totals["value_clipped"] += value_clipped.sum()
        if logits is None:
            return config.vf_coef * value_losses.sum()
        old_logps = experience.tokens(experience.logps, rows)
        logps = token_logps(logits, batch.targets, temperature=config.temperature)
        policy_losses, ratios = ppo_policy_losses(
            logps,
            old_logps,
            experience.tokens(experience.advantages, rows),
            clip_low=config.clip_low,
            clip_high=config.clip_high,
        )
        self.add_policy_statistics(totals, policy_losses.detach(), ratios.detach())
        return policy_losses.sum() + config.vf_coef * value_losses.sum()

    @torch.no_grad()
    def add_policy_statistics(self, totals: dict[str, Tensor], policy_losses: Tensor, ratios: Tensor) -> None:
        """Add up one micro-batch's statistics of the policy. policy_losses, ratios: (N,)."""
        low, high = ratios < 1 - self.config.clip_low, ratios > 1 + self.config.clip_high
        totals["policy_loss"] += policy_losses.sum()
        totals["ratio"] += ratios.sum()
        totals["ratio_error"] = torch.maximum(totals["ratio_error"], (ratios - 1).abs().max())
        totals["ratio_max"] = torch.maximum(totals["ratio_max"], ratios.max())
        totals["clipped_low"] += low.sum()
        totals["clipped_high"] += high.sum()
        totals["k3"] += (ratios - 1 - ratios.log()).sum()  # KL(old || new), samples from old

    def note_update(self, totals: dict[str, Tensor], n_tokens: int) -> None:
        """Keep one minibatch's statistics for the log."""
        gathered = self.update_metrics
        gathered["loss/value_avg"].append(totals["value_loss"] / n_tokens)
        gathered["val/clipfrac_avg"].append(totals["value_clipped"] / n_tokens)
        if self.warming_up:
            return
        if "val/ratio_first_error" not in gathered:
            gathered["val/ratio_first_error"].append(totals["ratio_error"])
        gathered["loss/policy_avg"].append(totals["policy_loss"] / n_tokens)
        gathered["policy/approxkl_avg"].append(totals["k3"] / n_tokens)
        gathered["policy/clipfrac_low"].append(totals["clipped_low"] / n_tokens)
        gathered["policy/clipfrac_high"].append(totals["clipped_high"] / n_tokens)
        gathered["policy/clipfrac_avg"].append((totals["clipped_low"] + totals["clipped_high"]) / n_tokens)
        gathered["val/ratio"].append(totals["ratio"] / n_tokens)
        gathered["val/ratio_max"].append(totals["ratio_max"])

    def collect_metrics(self) -> dict[str, float]:
        """Return the metrics of the last rollout and of what was learned from it."""
        metrics = dict(self.rollout_metrics)
        for name, values in self.update_metrics.items():
            metrics[name] = torch.stack(values).mean().item()
        if "val/ratio_max" in self.update_metrics:
            metrics["val/ratio_max"] = torch.stack(self.update_metrics["val/ratio_max"]).max().item()
        seconds = sum(metrics.get(f"time/{phase}", 0.0) for phase in ("generate", "score", "train"))
        n_tokens = int(self.experience.mask.sum()) if self.experience is not None else 0
        metrics["tokens_per_s"] = n_tokens / max(seconds, 1e-9)
        metrics["early_stops"] = float(self.early_stops)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log Trainer's values together with the rollout's."""
        if "loss" in logs:
            logs.update(self.collect_metrics())
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.policy.save_pretrained(folder / "policy")
        self.model.critic.model.save_pretrained(folder / "critic")
        assert self.scale is not None
        state = {
            "rollouts_started": self.rollouts_started,
            "early_stops": self.early_stops,
            "mean": self.scale.mean,
            "std": self.scale.std,
        }
        (folder / PPO_STATE).write_text(json.dumps(state), "utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        load_weights(self.model.policy, folder / "policy")
        load_weights(self.model.critic.model, folder / "critic")
        state = json.loads((folder / PPO_STATE).read_text("utf-8"))
        self.rollouts_started, self.early_stops = state["rollouts_started"], state["early_stops"]
        self.scale = ScoreScale(state["mean"], state["std"])
        self.model.critic.set_scale(self.scale.mean, self.scale.std)


class ReportRollouts(ReportToRun):
    """Reports, logs, saves and stops where a rollout is used up, so that no checkpoint needs a half-used one."""

    def __init__(self, run_dir: Path, trainer: PPOTrainer) -> None:
        super().__init__(run_dir, stage="training the policy with PPO")
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


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Load a saved model's weights into `model`, in place."""
    saved = type(model).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    model.load_state_dict(saved.state_dict())
