"""TRL's RewardTrainer with soft targets, weights, margins, several heads and packs of whole prompts."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from trl.trainer.reward_trainer import RewardTrainer

from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.checkpointing import SealedCheckpoints
from rlhf.learning.losses import bradley_terry_loss, centering_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.micro_batches import MicroBatches
from rlhf.learning.pair_batches import read_shared
from rlhf.learning.processes import process_count
from rlhf.learning.shared_batches import SharedBatches
from rlhf.learning.shared_prefix import shared_rewards
from rlhf.learning.unpaired_batches import FixedBatches

LABELS = ("target", "weight", "margin")


class SoftRewardTrainer(MicroBatches, SharedBatches, DeferredMetrics, SealedCheckpoints, RewardTrainer):
    """RewardTrainer whose rows also carry target and weight. With both at 1, and one head, its losses are TRL's.

    Several heads learn from several draws of the rows, each with replacement, so that where they have learned little they
    disagree (bootstrap ensemble over one trunk).

    Args: margin_scale: nats of margin asked of a pair whose margin column is 1. tie_threshold: as of
        `bradley_terry_loss`. pack_size: pairs that there is room for in a row of `pack_dataset`; 0 where the rows are
        pairs. The rest is RewardTrainer's.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        margin_scale: float = 0.0,
        tie_threshold: float = 0.0,
        pack_size: int = 0,
        **kwargs: Any,
    ) -> None:
        self.margin_scale, self.tie_threshold, self.pack_size = margin_scale, tie_threshold, pack_size
        n_heads = model.config.num_labels
        model.config.num_labels = 1  # RewardTrainer takes no more, and leaves the heads to compute_loss
        super().__init__(model=model, **kwargs)
        model.config.num_labels = n_heads
        n_pairs = sum(map(len, self.train_dataset["rows"])) if pack_size else len(self.train_dataset)
        self.shares = draw_shares(n_pairs, n_heads, seed=self.args.seed)  # (n, K)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    @property
    def rows_per_step(self) -> int:
        """A step learns from one pack, whose pairs the processes share, or from a batch of pairs."""
        return 1 if self.pack_size else super().rows_per_step

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        if self.pack_size:
            return FixedBatches(len(self.train_dataset), self.rows_per_step, seed=self.args.seed)
        lengths = (train_dataset or self.train_dataset)["n_tokens"]
        return LengthGroupedOrder(lengths, batch_size=self.rows_per_step, seed=self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the Bradley-Terry loss of a batch whose first half is chosen and second half rejected."""
        rewards = self.read_rewards(model, inputs)  # (2B, K)
        shares = self.shares[inputs["row"].cpu()].to(rewards.device)  # (B, K)
        chosen, rejected = (part.flatten() for part in rewards.chunk(2))  # (B K,)
        target, weight, margin = (inputs[name][:, None].expand_as(shares).flatten() for name in LABELS)
        loss = bradley_terry_loss(
            chosen,
            rejected,
            target=target,
            weight=weight * shares.flatten(),
            margin=self.margin_scale * margin,
            tie_threshold=self.tie_threshold,
        )
        if self.args.center_rewards_coefficient:
            loss = loss + self.args.center_rewards_coefficient * centering_loss(chosen, rejected)
        share = inputs["share"]
        if self.pack_size:  # a pack that is not full counts for less: its mean is over fewer pairs
            loss = loss * (share > 0) * len(shares) * process_count() / self.pack_size
        else:
            loss = loss * share
        self.note_total(inputs["n_tokens"])
        self.note_rewards(rewards.detach().mean(1), share)
        return (loss, rewards) if return_outputs else loss

    def read_rewards(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Return the rewards of a collated batch by each head: (2B, K) fp32, chosen first."""
        shared = read_shared(inputs)
        if shared is not None:
            with self.accelerator.autocast():  # which wraps the forward of the whole model alone
                return shared_rewards(self.accelerator.unwrap_model(model), shared)
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        rewards: Tensor = outputs.logits.float()
        return rewards

    @torch.no_grad()
    def note_rewards(self, rewards: Tensor, share: Tensor) -> None:
        """Gather TRL's metrics of one batch. rewards: (2B,), chosen first. share: as of `note`."""
        chosen, rejected = rewards.chunk(2)
        self.note("min_reward", rewards.min()[None], share=share)
        self.note("mean_reward", rewards, share=share)
        self.note("max_reward", rewards.max()[None], share=share)
        self.note("accuracy", (chosen > rejected).float(), share=share)
        self.note("margin", chosen - rejected, share=share)


def draw_shares(n_rows: int, n_heads: int, *, seed: int) -> Tensor:
    """Return how often each head draws each row: (n_rows, n_heads), all 1 for a head that is alone.

    Source: bootstrap by independent Poisson(1) counts, Oza and Russell 2001, "Online bagging and boosting".
    """
    if n_heads == 1:
        return torch.ones(n_rows, 1)
    return torch.poisson(torch.ones(n_rows, n_heads), generator=torch.Generator().manual_seed(seed))
