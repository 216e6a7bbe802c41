"""Reward models: TRL's RewardTrainer with soft targets, weights and margins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from trl.trainer.reward_config import RewardConfig as RewardArguments
from trl.trainer.reward_trainer import RewardTrainer

from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_agreement, describe_slices, fit_temperature, log_loss
from rlhf.learning.adapters import add_adapter
from rlhf.learning.arguments import training_settings
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints, save_final, train_sealed
from rlhf.learning.losses import bradley_terry_loss, centering_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.models import choose_attention, choose_recomputing
from rlhf.learning.pair_batches import PairRows, read_shared
from rlhf.learning.preferences import EncodedPair, load_pairs, weigh_prompts
from rlhf.learning.preview import preview_pairs, write_preview
from rlhf.learning.processes import process_count
from rlhf.learning.reward_card import describe_reading, draw_parity, require_parity, write_card
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

LABELS = ("target", "weight", "margin")


class SoftRewardTrainer(DeferredMetrics, SealedCheckpoints, RewardTrainer):
    """RewardTrainer whose rows also carry target and weight. With both at 1, and one head, its losses are TRL's.

    Several heads learn from several draws of the rows, each with replacement, so that where they have learned little they
    disagree (bootstrap ensemble over one trunk).

    Args: margin_scale: nats of margin asked of a pair whose margin column is 1. tie_threshold: as of
        `bradley_terry_loss`. The rest is RewardTrainer's.
    """

    def __init__(
        self, *, model: PreTrainedModel, margin_scale: float = 0.0, tie_threshold: float = 0.0, **kwargs: Any
    ) -> None:
        self.margin_scale, self.tie_threshold = margin_scale, tie_threshold
        n_heads = model.config.num_labels
        model.config.num_labels = 1  # RewardTrainer takes no more, and leaves the heads to compute_loss
        super().__init__(model=model, **kwargs)
        model.config.num_labels = n_heads
        self.shares = draw_shares(len(self.train_dataset), n_heads, seed=self.args.seed)  # (n, K)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        lengths = (train_dataset or self.train_dataset)["n_tokens"]
        return LengthGroupedOrder(lengths, batch_size=self._train_batch_size * process_count(), seed=self.args.seed)

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
        self.note_metrics(rewards.detach().mean(1), inputs["n_tokens"])
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
    def note_metrics(self, rewards: Tensor, n_tokens: Tensor) -> None:
        """Gather TRL's metrics of one batch. rewards: (2B,), chosen first. n_tokens: scalar."""
        mode = "train" if self.model.training else "eval"
        chosen, rejected = rewards.chunk(2)
        if mode == "train":
            self._total_train_tokens = self._total_train_tokens + n_tokens
        gathered = self._metrics[mode]
        gathered["num_tokens"] = [self._total_train_tokens]
        gathered["min_reward"].append(rewards.min())
        gathered["mean_reward"].append(rewards.mean())
        gathered["max_reward"].append(rewards.max())
        gathered["accuracy"].append((chosen > rejected).float().mean())
        gathered["margin"].append((chosen - rejected).mean())


def train(config: RewardConfig, run_dir: Path) -> dict[str, Any]:
    """Train a reward model on data/train.jsonl, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_scoring_tokenizer(config.base_model)
    model = load_reward_model(config.base_model, tokenizer, seed=config.seed, n_heads=config.n_heads)
    add_adapter(model, config)
    choose_recomputing(model, config.gradient_checkpointing)
    train_set = load_pairs(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    write_preview(run_dir, preview_pairs(train_set, tokenizer, scores_end=True))
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    require_positions(model, train_set.pairs + test_set.pairs)
    choose_attention(model, longest_row=max(pair.n_tokens for pair in train_set.pairs))
    trainer = SoftRewardTrainer(
        model=model,
        args=RewardArguments(
            **training_settings(config, run_dir, learning_rate=config.learning_rate),
            center_rewards_coefficient=config.center_rewards_coefficient,
            max_length=None,
        ),
        margin_scale=config.margin_scale,
        tie_threshold=config.tie_threshold,
        data_collator=PairRows(
            tokenizer.pad_token_id,
            labels=(*LABELS, "row"),
            shared=shares_prompts(model, train_set.pairs, pad_id=tokenizer.pad_token_id),
        ),
        train_dataset=pair_dataset(weigh_prompts(train_set.pairs) if config.balance == "prompts" else train_set.pairs),
        processing_class=tokenizer,
    )
    train_sealed(trainer, ReportToRun(run_dir, stage="training the reward model"))
    # Training leaves autocast in the model's forward, and rounded scores would not be those of the published model.
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    by_head = head_differences(model, test_set.pairs)  # (n, K)
    differences = by_head.mean(1).tolist()
    calibration = calibrate(test_set.pairs, differences)
    card = {
        **describe_reading(tokenizer, max_length=config.max_length),
        **calibration,
        "parity": draw_parity(model, test_set.pairs),
    }
    final = save_final(run_dir, model, tokenizer, write_more=lambda part: write_card(part, card))
    # What was published is what was measured.
    require_parity(load_reward_model(final, tokenizer, seed=config.seed), final)
    return {
        **describe_agreement(test_set.pairs, differences, name="eval_accuracy"),
        **calibration,
        **describe_heads(by_head),
        "slices": describe_slices(test_set.pairs, differences),
        "n_train": len(train_set.pairs),
        "n_dropped": train_set.n_dropped + test_set.n_dropped,
        "n_cut": train_set.n_cut + test_set.n_cut,
    }


def draw_shares(n_rows: int, n_heads: int, *, seed: int) -> Tensor:
    """Return how often each head draws each row: (n_rows, n_heads), all 1 for a head that is alone.

    Source: bootstrap by independent Poisson(1) counts, Oza and Russell 2001, "Online bagging and boosting".
    """
    if n_heads == 1:
        return torch.ones(n_rows, 1)
    return torch.poisson(torch.ones(n_rows, n_heads), generator=torch.Generator().manual_seed(seed))


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
