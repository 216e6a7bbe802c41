"""Direct preference optimization: TRL's DPOTrainer with soft targets, weights and a head only where the loss is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig as DPOArguments
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_agreement, describe_slices
from rlhf.learning.adapters import add_adapter, using
from rlhf.learning.arguments import training_settings
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints, save_final, train_sealed
from rlhf.learning.logps import (
    CompletionBatch,
    build_batch,
    completion_logits,
    require_compact_head,
    sum_rows,
    token_logps,
)
from rlhf.learning.losses import dpo_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.models import choose_attention, choose_recomputing, load_policy, load_tokenizer, pick_dtype
from rlhf.learning.pair_batches import PairBatch, read_shared
from rlhf.learning.pair_logps import list_sides, pair_logps, pair_logratios
from rlhf.learning.preferences import EncodedPair, load_pairs, weigh_prompts
from rlhf.learning.preview import preview_pairs, write_preview
from rlhf.learning.processes import process_count, sum_over_processes
from rlhf.learning.reference_cache import reference_logps
from rlhf.learning.shared_prefix import reads_shared_rows, shared_logits, spares_enough
from rlhf.learning.stops import dpo_rules
from rlhf.learning.tables import add_reference_logps, pair_dataset

LABELS = ("row", "target", "weight", "ref_chosen_logps", "ref_rejected_logps")


class CompactDPOTrainer(DeferredMetrics, SealedCheckpoints, DPOTrainer):
    """DPOTrainer for tokenised rows with reference log-probabilities. With target and weight 1 its losses are TRL's.

    Args: loss_type, sft_coef, simpo_margin: the run's. The rest is DPOTrainer's.
    """

    def __init__(
        self, *args: Any, loss_type: str, sft_coef: float = 0.0, simpo_margin: float = 0.0, **kwargs: Any
    ) -> None:
        self.loss_type, self.sft_coef, self.simpo_margin = loss_type, sft_coef, simpo_margin
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        lengths = (train_dataset or self.train_dataset)["n_tokens"]
        return LengthGroupedOrder(lengths, batch_size=self._train_batch_size * process_count(), seed=self.args.seed)

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
        )
        if self.sft_coef:
            # A mean over the chosen tokens of all processes, whose losses are averaged.
            n_chosen = sum_over_processes(chosen_lengths.sum()) / process_count()
            loss = loss - self.sft_coef * per_token[: int(chosen_lengths.sum())].sum() / n_chosen
        self.note_rewards(logps.detach(), ratios.detach(), inputs["n_tokens"])
        self.note_fall(chosen_ratios.detach() / chosen_lengths)
        if self.logs_after_this_step():
            self.note_tokens(logits.detach(), targets, lengths)
        return (loss, logits) if return_outputs else loss

    def logs_after_this_step(self) -> bool:
        """Whether the step under way is one whose metrics are written; the costly ones are computed on no other."""
        return not self.model.training or (self.state.global_step + 1) % self.args.logging_steps == 0

    @torch.no_grad()
    def note_rewards(self, logps: Tensor, ratios: Tensor, n_tokens: Tensor) -> None:
        """Gather TRL's metrics of sequences. logps, ratios: (2B,), chosen first, nats. n_tokens: scalar."""
        mode = "train" if self.model.training else "eval"
        gathered = self._metrics[mode]
        chosen_rewards, rejected_rewards = (self.beta * ratios).chunk(2)
        chosen_logps, rejected_logps = logps.chunk(2)
        if mode == "train":
            self._total_train_tokens = self._total_train_tokens + n_tokens
        gathered["num_tokens"] = [self._total_train_tokens]
        gathered["rewards/chosen"].append(chosen_rewards.mean())
        gathered["rewards/rejected"].append(rejected_rewards.mean())
        gathered["rewards/accuracies"].append((chosen_rewards > rejected_rewards).float().mean())
        gathered["rewards/margins"].append((chosen_rewards - rejected_rewards).mean())
        gathered["logps/chosen"].append(chosen_logps.mean())
        gathered["logps/rejected"].append(rejected_logps.mean())

    def note_fall(self, ratios: Tensor) -> None:
        """Gather how far the chosen completions fell under the reference. ratios: (B,), nats a token."""
        self._metrics["train" if self.model.training else "eval"]["logps/chosen_fall"].append(-ratios.mean())

    @torch.no_grad()
    def note_tokens(self, logits: Tensor, targets: Tensor, lengths: Tensor) -> None:
        """Gather TRL's metrics of tokens. logits: (N, V), targets: (N,), lengths: (2B,)."""
        gathered = self._metrics["train" if self.model.training else "eval"]
        logps = logits.log_softmax(-1)
        n_chosen = int(lengths.chunk(2)[0].sum())
        gathered["entropy"].append(-(logps.exp() * logps).sum(-1).mean())
        gathered["mean_token_accuracy"].append((logits.argmax(-1) == targets).float()[:n_chosen].mean())
        gathered["logits/chosen"].append(logits[:n_chosen].mean())
        gathered["logits/rejected"].append(logits[n_chosen:].mean())


def train(config: DPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on data/train.jsonl against its start, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    policy = load_policy(config.base_model)
    add_adapter(policy, config)
    choose_recomputing(policy, config.gradient_checkpointing)
    train_set = load_pairs(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    write_preview(run_dir, preview_pairs(train_set, tokenizer, scores_end=False))
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    pairs = weigh_prompts(train_set.pairs) if config.balance == "prompts" else train_set.pairs
    trainer = build_trainer(config, run_dir, policy=policy, tokenizer=tokenizer, pairs=pairs)
    train_sealed(trainer, ReportToRun(run_dir, stage="training the policy with DPO", rules=dpo_rules(config)))
    rewards = publish(config, run_dir, policy, tokenizer, test_set.pairs)  # (n, 2)
    return {
        **describe_policy(test_set.pairs, rewards),
        "slices": describe_slices(test_set.pairs, (rewards[:, 0] - rewards[:, 1]).tolist()),
        "n_train": len(train_set.pairs),
        "n_dropped": train_set.n_dropped + test_set.n_dropped,
        "n_cut": train_set.n_cut + test_set.n_cut,
    }


def build_trainer(
    config: DPOConfig,
    run_dir: Path,
    *,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[EncodedPair],
) -> CompactDPOTrainer:
    """Return the trainer of a run, after the reference has given its log-probabilities to every completion.

    The policy is still the reference here, also in a resumed run: its weights are restored when training begins.
    A loss without a reference spares the pass.
    """
    pad_id = tokenizer.pad_token_id
    choose_attention(policy, longest_row=max(pair.n_tokens for pair in pairs))
    require_compact_head(
        policy, build_batch([pairs[0].prompt_ids], [pairs[0].chosen_ids], pad_id=pad_id).to(policy.device)
    )
    return CompactDPOTrainer(
        model=policy,
        args=DPOArguments(
            **training_settings(config, run_dir, learning_rate=config.learning_rate),
            beta=config.beta,
            loss_type=["sigmoid" if config.is_reference_free else config.loss_type],  # ours is computed by losses.py
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=True,
            max_length=None,
        ),
        data_collator=PairBatch(pad_id, labels=LABELS, shared=shares_prompts(policy, pairs, pad_id=pad_id)),
        train_dataset=add_reference_logps(
            pair_dataset(pairs), ask_reference(config, run_dir, policy, pairs, pad_id=pad_id)
        ),
        processing_class=tokenizer,
        loss_type=config.loss_type,
        sft_coef=config.sft_coef,
        simpo_margin=config.simpo_margin,
    )


def shares_prompts(policy: PreTrainedModel, pairs: list[EncodedPair], *, pad_id: int) -> bool:
    """Say whether the two completions of a pair shall share a row: exact, and worth it for these pairs."""
    first = pairs[0]
    return spares_enough(pairs) and reads_shared_rows(
        policy, first.prompt_ids, first.chosen_ids, first.rejected_ids, pad_id=pad_id
    )


def ask_reference(
    config: DPOConfig, run_dir: Path, policy: PreTrainedModel, pairs: list[EncodedPair], *, pad_id: int
) -> Tensor:
    """Return the reference's log-probabilities of chosen and rejected, (n, 2), nats; 0 for losses without one."""
    if config.is_reference_free:
        return torch.zeros(len(pairs), 2)
    dtype = pick_dtype(config.dtype, policy.device)
    with using(policy, None):
        logps = reference_logps(run_dir, config.base_model, policy, *list_sides(pairs), pad_id=pad_id, dtype=dtype)
    return logps.view(-1, 2)


def publish(
    config: DPOConfig,
    run_dir: Path,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[EncodedPair],
) -> Tensor:
    """Publish the trained policy and return the rewards it gives to chosen and rejected of held-out pairs: (n, 2), nats."""
    pad_id = tokenizer.pad_token_id
    if config.lora_rank and not config.is_reference_free:
        # Before the adapter becomes one with the weights, for they are the reference: no second model is in memory.
        rewards = config.beta * pair_logps(policy, pairs, pad_id=pad_id)
        with using(policy, None):
            rewards -= config.beta * pair_logps(policy, pairs, pad_id=pad_id)
        save_final(run_dir, policy, tokenizer)
        return rewards
    return implicit_rewards(config, save_final(run_dir, policy, tokenizer), pairs, pad_id=pad_id)


def implicit_rewards(config: DPOConfig, final: Path, pairs: list[EncodedPair], *, pad_id: int) -> Tensor:
    """Return the rewards that a published policy gives to chosen and rejected by the loss it was trained on: (n, 2)."""
    if not config.is_reference_free:
        return config.beta * pair_logratios(final, config.base_model, pairs, pad_id=pad_id)
    lengths = torch.tensor([[len(pair.chosen_ids), len(pair.rejected_ids)] for pair in pairs])
    return config.beta * pair_logps(load_policy(final), pairs, pad_id=pad_id) / lengths


def describe_policy(pairs: Sequence[EncodedPair], rewards: Tensor) -> dict[str, Any]:
    """Return the agreement of implicit rewards with the labels. rewards: (n, 2), chosen and rejected, nats."""
    differences = rewards[:, 0] - rewards[:, 1]  # (n,)
    return {
        **describe_agreement(pairs, differences.tolist(), name="eval_rewards/accuracies"),
        "eval_rewards/chosen": rewards[:, 0].mean().item(),
        "eval_rewards/rejected": rewards[:, 1].mean().item(),
        "eval_rewards/margins": differences.mean().item(),
    }
