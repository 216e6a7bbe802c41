"""Collators of encoded pairs: two rows a pair, or one that shares the prompt."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from rlhf.learning.logps import build_batch
from rlhf.learning.micro_batches import PARTS, cut_batch
from rlhf.learning.scoring import pad_rows
from rlhf.learning.shared_prefix import SharedBatch, build_shared_batch

SIDES = ("prompt_ids", "chosen_ids", "rejected_ids")
SHARED_FIELDS = tuple(item.name for item in fields(SharedBatch))


class PairBatch:
    """Collator for DPO: completions of every pair, chosen first, with the columns `labels`, and n_tokens as TRL counts.

    Of several processes that collate the same pairs, each takes its own; `share` is what their mean counts for. Micro-batches
    come as `parts`.

    Args: labels: number columns of the table to take along. shared: join the two rows of a pair. budget: as of `cut_batch`.
    """

    def __init__(self, pad_id: int, *, labels: tuple[str, ...], shared: bool = False, budget: int = 0) -> None:
        self.pad_id = pad_id
        self.labels = labels
        self.shared = shared
        self.budget = budget

    def __call__(self, pairs: list[dict[str, Any]]) -> dict[str, Any]:
        cut = cut_batch(pairs, [self.count_tokens(pair) for pair in pairs], self.budget)
        n_chosen = sum(len(pair["chosen_ids"]) for pair in pairs)
        parts = [self.collate(part, share=share, n_chosen=n_chosen) for part, share in cut]
        return parts[0] if len(parts) == 1 else {PARTS: parts}

    def count_tokens(self, pair: dict[str, Any]) -> int:
        """Return the tokens of a pair's row, or of its two rows."""
        n_prompt, n_chosen, n_rejected = (len(pair[side]) for side in SIDES)
        return n_prompt + n_chosen + n_rejected if self.shared else 2 * (n_prompt + max(n_chosen, n_rejected))

    def collate(self, pairs: list[dict[str, Any]], *, share: float, n_chosen: int) -> dict[str, Tensor]:
        """Return one batch. n_chosen: tokens of the chosen completions of all micro-batches and processes."""
        inputs = self.join_rows(pairs) if self.shared else self.build_rows(pairs)
        labels = {name: torch.tensor([pair[name] for pair in pairs]) for name in self.labels}
        n_tokens = sum(
            2 * len(pair["prompt_ids"]) + len(pair["chosen_ids"]) + len(pair["rejected_ids"]) for pair in pairs
        )
        return {
            **inputs,
            **labels,
            "n_tokens": torch.tensor(n_tokens if share else 0),
            "share": torch.tensor(share, dtype=torch.float32),
            "n_chosen": torch.tensor(n_chosen),
        }

    def join_rows(self, pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the fields of a SharedBatch."""
        prompts, chosen, rejected = ([pair[side] for pair in pairs] for side in SIDES)
        batch = build_shared_batch(prompts, chosen, rejected, pad_id=self.pad_id)
        return {name: getattr(batch, name) for name in SHARED_FIELDS}

    def build_rows(self, pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return prompt + chosen of every pair, then prompt + rejected."""
        completions = [pair[side] for side in ("chosen_ids", "rejected_ids") for pair in pairs]
        batch = build_batch([pair["prompt_ids"] for pair in pairs] * 2, completions, pad_id=self.pad_id)
        return {"input_ids": batch.input_ids, "completion_mask": batch.completion_mask}


class PairRows(PairBatch):
    """Collator for the reward model: as PairBatch, but two rows come with the mask of their padding."""

    def build_rows(self, pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the chosen rows, then the rejected rows, padded on the right."""
        rows = [pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids") for pair in pairs]
        input_ids, attention_mask = pad_rows(rows, self.pad_id)
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def read_shared(inputs: dict[str, Tensor]) -> SharedBatch | None:
    """Return the joined rows of a collated batch, None when it holds two rows a pair."""
    return SharedBatch(**{name: inputs[name] for name in SHARED_FIELDS}) if "predictors" in inputs else None
