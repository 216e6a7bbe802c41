"""Direct preference optimization: from pairs to a published policy and what it makes of held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig as DPOArguments

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_agreement, describe_slices
from rlhf.learning.adapters import add_adapter, using
from rlhf.learning.arguments import training_settings
from rlhf.learning.checkpointing import ReportToRun, save_final, train_sealed
from rlhf.learning.dpo_trainer import LABELS, CompactDPOTrainer
from rlhf.learning.halving import restore_frozen
from rlhf.learning.logps import build_batch, require_compact_head
from rlhf.learning.models import choose_attention, load_policy, load_tokenizer, pick_dtype, spare_memory
from rlhf.learning.pair_batches import PairBatch
from rlhf.learning.pair_logps import list_sides, pair_logps, pair_logratios
from rlhf.learning.preferences import EncodedPair, load_pairs, weigh_prompts
from rlhf.learning.preview import preview_pairs, write_preview
from rlhf.learning.rates import peak_rate
from rlhf.learning.reference_cache import reference_logps
from rlhf.learning.shared_prefix import reads_shared_rows, spares_enough
from rlhf.learning.stops import dpo_rules
from rlhf.learning.tables import add_reference_logps, pair_dataset


def train(config: DPOConfig, run_dir: Path) -> dict[str, Any]:
    """Train a policy on data/train.jsonl against its start, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    policy = load_policy(config.base_model)
    add_adapter(policy, config)
    spare_memory(policy, config)
    train_set = load_pairs(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    write_preview(run_dir, preview_pairs(train_set, tokenizer, scores_end=False))
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    pairs = weigh_prompts(train_set.pairs) if config.balance == "prompts" else train_set.pairs
    trainer = build_trainer(config, run_dir, policy=policy, tokenizer=tokenizer, pairs=pairs)
    train_sealed(trainer, ReportToRun(run_dir, stage="training the policy with DPO", rules=dpo_rules(config)))
    # Training leaves autocast in the model's forward, and rounded rewards would not be those of the published policy.
    trained = trainer.accelerator.unwrap_model(policy, keep_fp32_wrapper=False)
    rewards = publish(config, run_dir, trained, tokenizer, test_set.pairs)  # (n, 2)
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
            **training_settings(config, run_dir, learning_rate=peak_rate(config, policy)),
            beta=config.beta,
            loss_type=["sigmoid" if config.is_reference_free else config.loss_type],  # ours is computed by losses.py
            label_smoothing=config.label_smoothing,
            precompute_ref_log_probs=True,
            max_length=None,
        ),
        data_collator=PairBatch(
            pad_id,
            labels=LABELS,
            shared=shares_prompts(policy, pairs, pad_id=pad_id),
            budget=config.micro_batch_tokens,
        ),
        train_dataset=add_reference_logps(
            pair_dataset(pairs), ask_reference(config, run_dir, policy, pairs, pad_id=pad_id)
        ),
        processing_class=tokenizer,
        loss_type=config.loss_type,
        sft_coef=config.sft_coef,
        simpo_margin=config.simpo_margin,
        length_coef=config.length_coef,
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
        restore_frozen(policy)
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
