"""Reward models: TRL's RewardTrainer with soft targets, weights and margins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from trl.trainer.reward_config import RewardConfig as RewardArguments
from trl.trainer.reward_trainer import RewardTrainer

from rlhf.contract.config import RewardConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_agreement
from rlhf.learning.arguments import training_settings
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.checkpointing import ReportToRun, SealedCheckpoints, save_final, train_sealed
from rlhf.learning.losses import bradley_terry_loss, centering_loss
from rlhf.learning.metrics import DeferredMetrics
from rlhf.learning.models import choose_attention, load_tokenizer
from rlhf.learning.preferences import load_pairs
from rlhf.learning.scoring import load_reward_model, pad_rows, reward_differences
from rlhf.learning.tables import pair_dataset


class SoftRewardTrainer(DeferredMetrics, SealedCheckpoints, RewardTrainer):
    """RewardTrainer whose rows also carry target and weight. With both at 1 its losses are TRL's.

    Args: margin_scale: nats of margin asked of a pair whose margin column is 1. The rest is RewardTrainer's.
    """

    def __init__(self, *args: Any, margin_scale: float = 0.0, **kwargs: Any) -> None:
        self.margin_scale = margin_scale
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        lengths = (train_dataset or self.train_dataset)["n_tokens"]
        return LengthGroupedOrder(lengths, batch_size=self._train_batch_size, seed=self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the Bradley-Terry loss of a batch whose first half is chosen and second half rejected."""
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        rewards = outputs.logits.squeeze(-1).float()  # (2B,)
        chosen, rejected = rewards.chunk(2)
        loss = bradley_terry_loss(
            chosen,
            rejected,
            target=inputs["target"],
            weight=inputs["weight"],
            margin=self.margin_scale * inputs["margin"],
        )
        if self.args.center_rewards_coefficient:
            loss = loss + self.args.center_rewards_coefficient * centering_loss(chosen, rejected)
        self.note_metrics(rewards.detach(), inputs["attention_mask"])
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def note_metrics(self, rewards: Tensor, attention_mask: Tensor) -> None:
        """Gather TRL's metrics of one batch. rewards: (2B,), chosen first."""
        mode = "train" if self.model.training else "eval"
        chosen, rejected = rewards.chunk(2)
        if mode == "train":
            self._total_train_tokens = self._total_train_tokens + attention_mask.sum()
        gathered = self._metrics[mode]
        gathered["num_tokens"] = [self._total_train_tokens]
        gathered["min_reward"].append(rewards.min())
        gathered["mean_reward"].append(rewards.mean())
        gathered["max_reward"].append(rewards.max())
        gathered["accuracy"].append((chosen > rejected).float().mean())
        gathered["margin"].append((chosen - rejected).mean())


class PairRows:
    """Collator: chosen rows, then rejected rows, padded on the right, with their labels."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        rows = [pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids") for pair in pairs]
        input_ids, attention_mask = pad_rows(rows, self.pad_id)
        labels = {name: torch.tensor([pair[name] for pair in pairs]) for name in ("target", "weight", "margin")}
        return {"input_ids": input_ids, "attention_mask": attention_mask, **labels}


def train(config: RewardConfig, run_dir: Path) -> dict[str, Any]:
    """Train a reward model on data/train.jsonl, publish it, and return its agreement with data/test.jsonl.

    Raises: ContractError on a base model or rows that cannot be used, HandedBack, NonFiniteError.
    """
    tokenizer = load_tokenizer(config.base_model)
    model = load_reward_model(config.base_model, tokenizer, seed=config.seed)
    train_set = load_pairs(run_dir / DATA / "train.jsonl", tokenizer, max_length=config.max_length)
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=config.max_length)
    choose_attention(model, longest_row=max(pair.n_tokens for pair in train_set.pairs))
    trainer = SoftRewardTrainer(
        model=model,
        args=RewardArguments(
            **training_settings(config, run_dir, learning_rate=config.learning_rate),
            center_rewards_coefficient=config.center_rewards_coefficient,
            max_length=None,
        ),
        margin_scale=config.margin_scale,
        data_collator=PairRows(tokenizer.pad_token_id),
        train_dataset=pair_dataset(train_set.pairs),
        processing_class=tokenizer,
    )
    train_sealed(trainer, ReportToRun(run_dir, stage="training the reward model"))
    # The published model is the one that is asked, in fp32, as it will be in use.
    published = load_reward_model(save_final(run_dir, model, tokenizer), tokenizer, seed=config.seed)
    return {
        **describe_agreement(test_set.pairs, reward_differences(published, test_set.pairs), name="eval_accuracy"),
        "n_train": len(train_set.pairs),
        "n_dropped": train_set.n_dropped + test_set.n_dropped,
        "n_cut": train_set.n_cut + test_set.n_cut,
    }
