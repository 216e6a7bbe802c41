"""TRL's DPOTrainer on tokenised rows: soft targets, weights, and a head only where the loss is."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.checkpointing import SealedCheckpoints
from rlhf.learning.logps import CompletionBatch, completion_logits, sum_rows, token_logps
from rlhf.learning.losses import dpo_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.micro_batches import MicroBatches
from rlhf.learning.pair_batches import read_shared
from rlhf.learning.processes import process_count
from rlhf.learning.shared_batches import SharedBatches
from rlhf.learning.shared_prefix import shared_logits

LABELS = ("row", "target", "weight", "ref_chosen_logps", "ref_rejected_logps")


class CompactDPOTrainer(MicroBatches, SharedBatches, DeferredMetrics, SealedCheckpoints, DPOTrainer):
    """DPOTrainer for tokenised rows with reference log-probabilities. With target and weight 1 its losses are TRL's.

    Args: loss_type, sft_coef, simpo_margin, length_coef: the run's. The rest is DPOTrainer's.
    """

    def __init__(
        self,
        *args: Any,
        loss_type: str,
        sft_coef: float = 0.0,
        simpo_margin: float = 0.0,
        length_coef: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.loss_type, self.sft_coef, self.simpo_margin, self.length_coef = (
            loss_type,
            sft_coef,
            simpo_margin,
            length_coef,
        )
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        lengths = (train_dataset or self.train_dataset)["n_tokens"]
        return LengthGroupedOrder(lengths, batch_size=self.rows_per_step, seed=self.args.seed)

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        shared = read_shared(inputs)
        batch = shared or CompletionBatch(inputs["input_ids"], inputs["completion_mask"])
        lengths, targets = batch.lengths, batch.targets
        logits = shared_logits(model, shared) if shared else completion_logits(model, batch)  # (N, V)
        per_token = token_logps(logits, targets)  # (N,), those of chosen first
        logps = sum_rows(per_token, lengths)  # (2B,)
        ratios = logps - torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        chosen_ratios, rejected_ratios = ratios.chunk(2)
        chosen_lengths, rejected_lengths = lengths.chunk(2)
        loss = dpo_loss(
            chosen_ratios,
            rejected_ratios,
            loss_type=self.loss_type,
            beta=self.beta,
            target=inputs["target"],
            weight=inputs["weight"],
            chosen_lengths=chosen_lengths,
            rejected_lengths=rejected_lengths,
            label_smoothing=self.label_smoothing,
            simpo_margin=self.simpo_margin,
            length_coef=self.length_coef,
        )
        share = inputs["share"]
        loss = loss * share
        if self.sft_coef:
            # A mean over the batch's chosen tokens, in whose parts and processes it is summed. A tie has nothing to imitate.
            sureness = inputs["weight"] * (2 * inputs["target"] - 1).clamp(min=0)  # (B,)
            chosen_logps = (sureness * logps.chunk(2)[0]).sum() * (share > 0)
            loss = loss - self.sft_coef * process_count() * chosen_logps / inputs["n_chosen"]
        self.note_total(inputs["n_tokens"])
        self.note_rewards(logps.detach(), ratios.detach(), share)
        self.note("logps/chosen_fall", -chosen_ratios.detach() / chosen_lengths, share=share)
        if self.logs_after_this_step():
            self.note_tokens(logits.detach(), targets, lengths, share)
        return (loss, logits) if return_outputs else loss

    def logs_after_this_step(self) -> bool:
        """Whether the step under way is one whose metrics are written; the costly ones are computed on no other."""
        return not self.model.training or (self.state.global_step + 1) % self.args.logging_steps == 0

    @torch.no_grad()
    def note_rewards(self, logps: Tensor, ratios: Tensor, share: Tensor) -> None:
        """Gather TRL's metrics of sequences. logps, ratios: (2B,), chosen first, nats. share: as of `note`."""
        chosen_rewards, rejected_rewards = (self.beta * ratios).chunk(2)
        chosen_logps, rejected_logps = logps.chunk(2)
        self.note("rewards/chosen", chosen_rewards, share=share)
        self.note("rewards/rejected", rejected_rewards, share=share)
        self.note("rewards/accuracies", (chosen_rewards > rejected_rewards).float(), share=share)
        self.note("rewards/margins", chosen_rewards - rejected_rewards, share=share)
        self.note("logps/chosen", chosen_logps, share=share)
        self.note("logps/rejected", rejected_logps, share=share)

    @torch.no_grad()
    def note_tokens(self, logits: Tensor, targets: Tensor, lengths: Tensor, share: Tensor) -> None:
        """Gather TRL's metrics of tokens. logits: (N, V), targets: (N,), lengths: (2B,), share: as of `note`."""
        logps = logits.log_softmax(-1)
        n_chosen = int(lengths.chunk(2)[0].sum())
        means = logits.mean(-1)  # (N,)
        self.note("entropy", -(logps.exp() * logps).sum(-1), share=share)
        self.note("mean_token_accuracy", (logits.argmax(-1) == targets).float()[:n_chosen], share=share)
        self.note("logits/chosen", means[:n_chosen], share=share)
        self.note("logits/rejected", means[n_chosen:], share=share)
