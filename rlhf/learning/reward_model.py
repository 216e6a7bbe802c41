"""Reward models: from pairs to a published model, its agreement with held-out ones and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig as RewardArguments

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import DATA, HITS
from rlhf.learning.accuracy import (
    describe_accuracy,
    describe_agreement,
    describe_slices,
    fit_temperature,
    list_hits,
    log_loss,
)
from rlhf.learning.adapters import add_adapter
from rlhf.learning.arguments import training_settings
from rlhf.learning.checkpointing import ReportToRun, save_final, train_sealed
from rlhf.learning.halving import restore_frozen
from rlhf.learning.models import choose_attention, spare_memory
from rlhf.learning.pair_batches import PairRows
from rlhf.learning.preferences import EncodedPair, EncodedPairs, load_pairs, weigh_prompts
from rlhf.learning.preview import preview_pairs, write_preview
from rlhf.learning.processes import is_first_process, process_count
from rlhf.learning.prompt_packs import PackBatch, pack_dataset, pack_prompts
from rlhf.learning.rates import peak_rate
from rlhf.learning.reward_card import describe_reading, draw_parity, require_parity, write_card
from rlhf.learning.reward_trainer import LABELS, SoftRewardTrainer
from rlhf.learning.reweighting import describe_reweighted
from rlhf.learning.scoring import (
    evaluating,
    head_differences,
    load_reward_model,
    load_scoring_tokenizer,
    require_positions,
    score_heads,
)
from rlhf.learning.shared_prefix import (
    agrees,
    build_shared_batch,
    has_full_attention,
    shared_rewards,
    spares_enough,
)
from rlhf.learning.tables import pair_dataset
from rlhf.learning.token_reward import learn_scorer
from rlhf.learning.token_scorer import is_token_scorer
from rlhf.learning.words import word_differences


def train(config: RewardConfig, run_dir: Path) -> dict[str, Any]:
    """Train a reward model on data/train.jsonl, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_scoring_tokenizer(config.base_model)
    train_set = load_pairs(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    write_preview(run_dir, preview_pairs(train_set, tokenizer, scores_end=config.head == "last"))
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    model: Any
    if config.head == "tokens":
        pairs = weigh_prompts(train_set.pairs) if config.balance == "prompts" else train_set.pairs
        model = learn_scorer(config, run_dir, tokenizer=tokenizer, pairs=pairs)
    else:
        model = train_trunk(config, run_dir, tokenizer=tokenizer, train_set=train_set, test_set=test_set)
    by_head = head_differences(model, test_set.pairs)  # (n, K)
    differences = by_head.mean(1).tolist()
    calibration = calibrate(test_set.pairs, differences)
    agreement = describe_agreement(test_set.pairs, differences, name="eval_accuracy")
    reweighted = describe_reweighted(run_dir, test_set.pairs, differences, name="eval_accuracy")
    card = {
        **describe_reading(tokenizer, max_length=config.max_length),
        **calibration,
        **{name: agreement[name] for name in ("eval_accuracy", "eval_brier", "eval_ece")},
        **reweighted,
        "parity": draw_parity(model, test_set.pairs),
    }
    final = save_final(run_dir, model, tokenizer, write_more=lambda part: write_card(part, card))
    # What was published is what was measured.
    require_parity(load_reward_model(final, tokenizer, seed=config.seed), final)
    if is_first_process():
        write_rows(run_dir / HITS, list_hits(test_set.pairs, differences))
    return {
        **agreement,
        **reweighted,
        **describe_accuracy(test_set.pairs, word_differences(train_set.pairs, test_set.pairs), name="baseline_words"),
        **calibration,
        **describe_heads(by_head),
        "slices": describe_slices(test_set.pairs, differences),
        "n_train": len(train_set.pairs),
        "n_dropped": train_set.n_dropped + test_set.n_dropped,
        "n_cut": train_set.n_cut + test_set.n_cut,
    }


def train_trunk(
    config: RewardConfig,
    run_dir: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    train_set: EncodedPairs,
    test_set: EncodedPairs,
) -> PreTrainedModel:
    """Return a model whose trunk has learned to score, with its head on the last token.

    Raises: ContractError for a base that cannot be used, HandedBack, NonFiniteError.
    """
    if is_token_scorer(config.base_model):
        raise ContractError(
            "base_model weighs words and has no trunk that learns: name a policy, or ask for head=tokens"
        )
    model = load_reward_model(config.base_model, tokenizer, seed=config.seed, n_heads=config.n_heads)
    add_adapter(model, config)
    spare_memory(model, config)
    require_positions(model, train_set.pairs + test_set.pairs)
    choose_attention(model, longest_row=max(pair.n_tokens for pair in train_set.pairs))
    trainer = build_trainer(config, run_dir, model=model, tokenizer=tokenizer, pairs=train_set.pairs)
    train_sealed(trainer, ReportToRun(run_dir, stage="training the reward model"))
    # Training leaves autocast in the model's forward, and rounded scores would not be those of the published model.
    trained: PreTrainedModel = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    restore_frozen(trained)
    return trained


def build_trainer(
    config: RewardConfig,
    run_dir: Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[EncodedPair],
) -> SoftRewardTrainer:
    """Return the trainer of a run: its rows are pairs, or prompts with all their pairs where these weigh the same."""
    settings = training_settings(config, run_dir, learning_rate=peak_rate(config, model))
    shared = shares_prompts(model, pairs, pad_id=tokenizer.pad_token_id)
    collate: Any = PairRows(
        tokenizer.pad_token_id, labels=(*LABELS, "row"), shared=shared, budget=config.micro_batch_tokens
    )
    table, pack_size = pair_dataset(pairs), 0
    if config.balance == "prompts":
        pack_size = config.batch_size
        collate = PackBatch(pair_dataset(weigh_prompts(pairs)), collate)
        table = pack_dataset(pack_prompts(pairs, size=pack_size, seed=config.seed))
        settings["per_device_train_batch_size"] = 1
    return SoftRewardTrainer(
        model=model,
        args=RewardArguments(**settings, center_rewards_coefficient=config.center_rewards_coefficient, max_length=None),
        margin_scale=config.margin_scale,
        tie_threshold=config.tie_threshold,
        pack_size=pack_size,
        data_collator=collate,
        train_dataset=table,
        processing_class=tokenizer,
    )


def describe_heads(differences: Tensor) -> dict[str, float]:
    """Return how far the heads lie apart on the held-out pairs; nothing for a single head. differences: (n, K), nats."""
    if differences.shape[1] == 1:
        return {}
    signs = differences.sign()
    return {
        "eval_spread": differences.std(1).mean().item(),
        "eval_head_disagreement": (signs != signs[:, :1]).any(1).float().mean().item(),
    }


def calibrate(pairs: Sequence[EncodedPair], differences: Sequence[float]) -> dict[str, float]:
    """Return the temperature that makes sigmoid(difference / temperature) a probability, and what it is worth.

    One number is fitted on the held-out pairs and judged on them; with many pairs that flatters it little.
    """
    targets = [pair.target for pair in pairs]
    temperature = fit_temperature(targets, differences)
    return {
        "temperature": temperature,
        "eval_log_loss_calibrated": log_loss(targets, [difference / temperature for difference in differences]),
    }


@torch.no_grad()
def shares_prompts(model: PreTrainedModel, pairs: list[EncodedPair], *, pad_id: int) -> bool:
    """Say whether the two completions of a pair shall share a row: one process, exact, and worth it for these pairs.

    Only a decoder has its scalar head as `score`; an encoder sees a whole row from everywhere.
    """
    is_alone = process_count() == 1
    if not (is_alone and hasattr(model, "score") and has_full_attention(model) and spares_enough(pairs)):
        return False
    first = pairs[0]
    apart = score_heads(model, [first.prompt_ids + ids for ids in (first.chosen_ids, first.rejected_ids)])
    joined = build_shared_batch([first.prompt_ids], [first.chosen_ids], [first.rejected_ids], pad_id=pad_id)
    with evaluating(model):
        return agrees(lambda: shared_rewards(model, joined.to(model.device)).cpu(), apart)
