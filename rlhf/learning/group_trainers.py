"""TRL's GRPOTrainer and RLOOTrainer with our sampling, our log-probabilities and an order of prompts that resumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.learning.adapters import using
from rlhf.learning.backends import Backend
from rlhf.learning.checkpointing import SealedCheckpoints
from rlhf.learning.generation import Decoding, Rollout
from rlhf.learning.logps import CompletionBatch, align_left, completion_logits, token_entropies, token_logps
from rlhf.learning.models import autocast
from rlhf.learning.processes import gather_parts, process_rank, sum_over_processes
from rlhf.learning.rewards import Reward
from rlhf.learning.scorer import CUT, count_cut
from rlhf.learning.stops import FINISHED

# Far apart, so that no two rollouts of one run and no two neighbouring seeds draw the same numbers.
ROLLOUT_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class AdapterOff:
    """A policy as it is without its adapter: a reference that costs no second model."""

    policy: PreTrainedModel


Reference = PreTrainedModel | AdapterOff | None


class GroupRollouts(SealedCheckpoints):
    """Mixin, named before TRL's trainer: what it samples and how it reads log-probabilities are ours.

    TRL scores prompts padded on the left without telling positions, which shifts every absolute position, and samples
    from the global random state, which a resumed run cannot find again. Here rows are padded on the right for scoring,
    and a rollout is a function of its number, the seed and the policy.

    Args: config: of the run. prompts: token ids by number, which the table's `prompt` column names as a text.
        stop_ids: token ids that end a completion. reference: what the distance is measured from, None where nobody asks;
        TRL is to know of none. backend: draws the completions. dtype: of the trunk's matrix products.
    """

    _metrics: dict[str, defaultdict[str, list[Any]]]

    def __init__(
        self,
        *args: Any,
        config: GRPOConfig,
        prompts: list[list[int]],
        stop_ids: list[int],
        reference: Reference,
        backend: Backend,
        dtype: torch.dtype,
        scores: Reward,
        **kwargs: Any,
    ) -> None:
        self.config = config
        self.scores = scores
        self.prompts = prompts
        self.stop_ids = stop_ids
        self.backend = backend
        self.dtype = dtype
        super().__init__(*args, **kwargs)
        self.ref_model = reference
        self.beta = config.kl_coef

    @property
    def rollout_number(self) -> int:
        """The rollout under way, counted from 0."""
        return int(self.state.global_step) // self.config.updates_per_rollout

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler[int]:
        return PromptOrder(len(self.prompts), self.config)

    def find_rows(self, inputs: list[dict[str, str]]) -> list[int]:
        """Return the numbers of the prompts of the rollout that a step learns from."""
        return sorted({int(row["prompt"]) for row in inputs})

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompts[int(number)] for number in prompts], None, {}

    def draw(self, prompt_ids: list[list[int]]) -> list[Rollout]:
        """Return a completion of each prompt of this process; the prompts of a group stand together."""
        n = self.config.samples_per_prompt
        parts = gather_parts(prompt_ids[::n])
        first, mine = sum(map(len, parts[: process_rank()])), parts[process_rank()]
        policy = self.accelerator.unwrap_model(self.model)  # type: ignore[attr-defined]
        with autocast(policy.device, self.dtype):
            drawn = self.backend(
                policy,
                [prompt for part in parts for prompt in part],
                Decoding(self.config.temperature, 1.0, self.config.max_new_tokens, self.stop_ids),
                n=n,
                seed=self.config.seed + ROLLOUT_SEED_STRIDE * (self.rollout_number + 1),
                only=range(first, first + len(mine)),
            )
        completions = [completion for group in drawn for completion in group]
        n_finished = sum(completion.finished for completion in completions)
        self._metrics["train"][FINISHED].append(self.average(n_finished, len(completions)))
        return completions

    def average(self, total: float, n: int) -> float:
        """Return the mean of what all processes have: their totals over their numbers."""
        summed = sum_over_processes(torch.tensor([total, n], dtype=torch.float64, device=self.accelerator.device))  # type: ignore[attr-defined]
        return (summed[0] / summed[1]).item()

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self._metrics["train"][CUT].append(self.average(count_cut(self.scores), len(inputs)))
        if self.ref_model is not None and not self.beta:
            self._metrics["train"]["kl"].append(self.measure_kl(batch))
        return batch

    @torch.no_grad()
    def measure_kl(self, batch: dict[str, Any]) -> float:
        """Return the KL of the policy to the reference on a rollout, nats a token: for the limit alone.

        By k1: a policy that nothing holds back has tokens by which k3 is a thousand times what it is on average.

        Args: batch: TRL's, of a rollout whose completions may still lack the policy's log-probabilities.
        """
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)  # (B, P + C)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        n_columns, size = batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
        logps = batch.get("old_per_token_logps")  # (B, C)
        if logps is None:
            logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, n_columns, size)
        reference, _, _ = self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, n_columns, size)
        differences = (logps - reference)[batch["completion_mask"].bool()]
        return self.average(differences.sum().item(), len(differences))

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **unused: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """Return log-probabilities and entropies of the last `logits_to_keep` columns: (B, C) each, 0 outside the mask."""
        if isinstance(model, AdapterOff):
            with using(model.policy, None):
                return self._get_per_token_logps_and_entropies(
                    model.policy, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy
                )
        found = [
            self.read_tokens(model, ids, mask, logits_to_keep, with_entropies=compute_entropy)
            for ids, mask in zip(
                input_ids.split(batch_size or len(input_ids)),
                attention_mask.split(batch_size or len(input_ids)),
                strict=True,
            )
        ]
        logps = torch.cat([logps for logps, _ in found])
        return logps, torch.cat([entropies for _, entropies in found]) if compute_entropy else None, None

    def read_tokens(
        self, model: Any, input_ids: Tensor, mask: Tensor, n_columns: int, *, with_entropies: bool
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and, if asked for, entropies of completion tokens: (B, C) each, else 0.

        Args: input_ids: (B, P + C), prompts padded on the left, completions on the right. mask: (B, P + C), 1 at tokens.
        """
        batch = push_left(input_ids, mask.bool(), n_columns)
        with autocast(input_ids.device, self.dtype):
            logits = completion_logits(model, batch)  # (N, V)
        logps = token_logps(logits, batch.targets, temperature=self.config.temperature)
        columns = [widen(align_left(logps, batch.lengths), n_columns)]
        with torch.no_grad():
            temperature = self.config.temperature
            entropies = token_entropies(logits, temperature=temperature) if with_entropies else torch.zeros_like(logps)
            columns.append(widen(align_left(entropies, batch.lengths), n_columns))
        return columns[0], columns[1]


class GroupRelativeTrainer(GroupRollouts, GRPOTrainer):
    """GRPO: a completion's advantage is its reward less its group's mean, over the group's spread."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *unused: Any) -> tuple[list[list[int]], None]:
        return [completion.ids for completion in self.draw(prompt_ids)], None


class LeaveOneOutTrainer(GroupRollouts, RLOOTrainer):
    """RLOO: a completion's advantage is its reward less the mean of the others of its prompt."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *unused: Any) -> list[list[int]]:
        return [completion.ids for completion in self.draw(prompt_ids)]


class PromptOrder(Sampler[int]):
    """The prompts of all rollouts of a run, each as often as TRL asks for it: once a completion and optimizer step.

    Every prompt comes once an epoch, in an order drawn from the seed.
    """

    def __init__(self, n_prompts: int, config: GRPOConfig) -> None:
        self.n_prompts = n_prompts
        self.config = config

    def __len__(self) -> int:
        return self.config.n_steps * self.config.micro_batches * self.config.n_completions

    def __iter__(self) -> Iterator[int]:
        prompts = self.walk_prompts()
        for _ in range(self.config.rollouts):
            chosen = list(islice(prompts, self.config.rollout_batch_size))
            rows = [prompt for prompt in chosen for _ in range(self.config.samples_per_prompt)]
            # Each of a step's micro-batches is handed the whole rollout and takes its part of it.
            yield from rows * (self.config.updates_per_rollout * self.config.micro_batches)

    def walk_prompts(self) -> Iterator[int]:
        """Yield the prompts of epoch after epoch."""
        for epoch in count():
            yield from torch.randperm(
                self.n_prompts, generator=torch.Generator().manual_seed(self.config.seed + epoch)
            ).tolist()


def push_left(input_ids: Tensor, mask: Tensor, n_columns: int) -> CompletionBatch:
    """Return the rows with their padding all on the right.

    Args: input_ids: (B, T). mask: (B, T) bool, True at tokens. n_columns: of completions, at the end.
    """
    lengths = mask.sum(1)  # (B,)
    n_completion = mask[:, -n_columns:].sum(1)  # (B,)
    moved = align_left(input_ids[mask], lengths)  # (B, max length)
    column = torch.arange(moved.shape[1], device=moved.device)
    is_completion = (column >= (lengths - n_completion)[:, None]) & (column < lengths[:, None])
    return CompletionBatch(moved, is_completion)


def widen(values: Tensor, n_columns: int) -> Tensor:
    """Return the matrix with columns of zeros up to `n_columns`."""
    return torch.nn.functional.pad(values, (0, n_columns - values.shape[1]))
