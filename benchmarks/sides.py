"""Ours and plain TRL's of each method, on the same rows in the same order: what benchmarks/training.py compares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig as DPOArguments
from trl import DPOTrainer, RewardTrainer, SFTTrainer
from trl import RewardConfig as RewardArguments
from trl import SFTConfig as SFTArguments

from benchmarks.scale import DTYPES, TOKENIZER, Pair, Scale, build_model
from benchmarks.stopwatch import Watch
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.run_dir import prepare_run_dir
from rlhf.learning import dpo
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.lean import make_lean
from rlhf.learning.logps import build_batch
from rlhf.learning.models import autocast, choose_attention
from rlhf.learning.pair_batches import PairRows
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.reward_model import shares_prompts
from rlhf.learning.reward_trainer import LABELS, SoftRewardTrainer
from rlhf.learning.sft import answer_loss
from rlhf.learning.tables import pair_dataset
from rlhf.learning.training_loop import TrainingLoop

LOGGING = 4  # both sides log the mean loss of as many steps, which they pay for equally
RATE = 1e-4
Run = Callable[[Watch], None]


def trainer_settings(folder: str, n_steps: int, scale: Scale) -> dict[str, Any]:
    """Return what ours and theirs are both told."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": scale.batch,
        "max_steps": n_steps,
        "logging_steps": LOGGING,
        "learning_rate": RATE,
        "seed": 0,
        "bf16": scale.is_half,
        "use_cpu": scale.device == "cpu",
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def our_settings(n_steps: int, scale: Scale) -> dict[str, Any]:
    """Return the same in the words of our configurations."""
    return {
        "batch_size": scale.batch,
        "max_steps": n_steps,
        "logging_steps": LOGGING,
        "learning_rate": RATE,
        "seed": 0,
        "warmup_ratio": 0.0,
        "dtype": scale.dtype,
    }


def keep_rows(trainer: type) -> type:
    """Return a TRL trainer that takes tokenised rows, in the order of our own, and is TRL's in all else."""

    class Plain(trainer):  # type: ignore[misc, valid-type]
        def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
            return dataset

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            size = self.args.per_device_train_batch_size
            return LengthGroupedOrder(self.train_dataset["n_tokens"], batch_size=size, seed=0)

    return Plain


def time_trainer(trainer: Any, watch: Watch) -> None:
    """Train, watched."""
    trainer.add_callback(watch)
    trainer.train()


def encode(pairs: list[Pair]) -> list[EncodedPair]:
    """Return the pairs as our trainers take them."""
    return [EncodedPair(**pair, target=1.0, weight=1.0, margin=0.0, chosen_chars=1, rejected_chars=1) for pair in pairs]


def run_dpo(pairs: list[Pair], folder: str, n_steps: int, scale: Scale) -> dict[str, Run]:
    """Return both sides of direct preference optimization."""
    encoded = encode(pairs)

    def ours(watch: Watch) -> None:
        config = DPOConfig(**our_settings(n_steps, scale))
        prepare_run_dir(Path(folder), config)
        policy = make_lean(build_model(scale))
        time_trainer(dpo.build_trainer(config, Path(folder), policy=policy, tokenizer=TOKENIZER, pairs=encoded), watch)

    def theirs(watch: Watch) -> None:
        settings = trainer_settings(folder, n_steps, scale)
        trainer = keep_rows(DPOTrainer)(
            model=build_model(scale),
            args=DPOArguments(**settings, precompute_ref_log_probs=True, max_length=None),
            train_dataset=pair_dataset(encoded),
            processing_class=TOKENIZER,
        )
        time_trainer(trainer, watch)

    return {"ours": ours, "trl": theirs}


def run_reward(pairs: list[Pair], folder: str, n_steps: int, scale: Scale) -> dict[str, Run]:
    """Return both sides of a reward model."""
    encoded = encode(pairs)
    settings = trainer_settings(folder, n_steps, scale) | {"remove_unused_columns": False, "max_length": None}

    def ours(watch: Watch) -> None:
        model = make_lean(build_model(scale, score=True))
        choose_attention(model, longest_row=max(pair.n_tokens for pair in encoded))
        shared = shares_prompts(model, encoded, pad_id=TOKENIZER.pad_token_id)
        trainer = SoftRewardTrainer(
            model=model,
            args=RewardArguments(**settings),
            data_collator=PairRows(TOKENIZER.pad_token_id, labels=(*LABELS, "row"), shared=shared),
            train_dataset=pair_dataset(encoded),
            processing_class=TOKENIZER,
        )
        time_trainer(trainer, watch)

    def theirs(watch: Watch) -> None:
        rows = [
            {side: pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids")}
            | {"n_tokens": each.n_tokens}
            for pair, each in zip(pairs, encoded, strict=True)
        ]
        trainer = keep_rows(RewardTrainer)(
            model=build_model(scale, score=True),
            args=RewardArguments(**settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=TOKENIZER,
        )
        time_trainer(trainer, watch)

    return {"ours": ours, "trl": theirs}


def run_sft(pairs: list[Pair], folder: str, n_steps: int, scale: Scale) -> dict[str, Run]:
    """Return both sides of fine-tuning on the chosen completions."""
    n_tokens = [len(pair["prompt_ids"]) + len(pair["chosen_ids"]) for pair in pairs]
    order = list(LengthGroupedOrder(n_tokens, batch_size=scale.batch, seed=0))

    def ours(watch: Watch) -> None:
        config = SFTConfig(**our_settings(n_steps, scale))
        prepare_run_dir(Path(folder), config)
        model, seen = make_lean(build_model(scale)), []
        choose_attention(model, longest_row=max(n_tokens))
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
        watch.follow(model, optimizer)
        loop = TrainingLoop(
            config, Path(folder), stage="sft", model=model, tokenizer=TOKENIZER, optimizers=[optimizer], n_steps=n_steps
        )

        def compute_losses(step: int) -> list[torch.Tensor]:
            if step:
                watch.note_step()  # of the step before
            chosen = [pairs[row] for row in order[step * scale.batch : (step + 1) * scale.batch]]
            prompts, answers = ([pair[side] for pair in chosen] for side in ("prompt_ids", "chosen_ids"))
            with autocast(model.device, DTYPES[scale.dtype]):
                batch = build_batch(prompts, answers, pad_id=TOKENIZER.pad_token_id).to(model.device)
                loss = answer_loss(model, batch)
            seen.append(loss.detach())
            return [loss]

        loop.run(compute_losses)
        watch.losses.append(torch.stack(seen[:LOGGING]).mean().item())

    return {"ours": ours, "trl": lambda watch: time_trl_sft(pairs, folder, n_steps, scale, watch)}


def time_trl_sft(pairs: list[Pair], folder: str, n_steps: int, scale: Scale, watch: Watch) -> None:
    """Fine-tune by TRL's own trainer, watched."""
    rows = [
        {
            "input_ids": pair["prompt_ids"] + pair["chosen_ids"],
            # What TRL makes of a completion_mask while it prepares rows, which these need not be.
            "labels": [-100] * len(pair["prompt_ids"]) + pair["chosen_ids"],
            "n_tokens": len(pair["prompt_ids"]) + len(pair["chosen_ids"]),
        }
        for pair in pairs
    ]
    settings = trainer_settings(folder, n_steps, scale)
    trainer = keep_rows(SFTTrainer)(
        model=build_model(scale),
        args=SFTArguments(**settings, completion_only_loss=True, max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=TOKENIZER,
    )
    time_trainer(trainer, watch)


SIDES = {"dpo": run_dpo, "reward": run_reward, "sft": run_sft}
