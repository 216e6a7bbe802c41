"""Single completions in batches that stay together, each row with the completion of another to measure the KL by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler

from rlhf.learning.batching import LengthGroupedOrder, split_evenly
from rlhf.learning.logps import build_batch
from rlhf.learning.micro_batches import PARTS, cut_batch
from rlhf.learning.unpaired import EncodedCompletion

NUMBERS = ("row", "ref_logps", "ref_KL_logps", "weight")


class FixedBatches(Sampler[int]):
    """An order of rows in which rows batch_size by batch_size stay together; the batches are shuffled each epoch.

    The order is a function of the seed and the epoch alone, so a resumed run finds the batches of the interrupted one.
    """

    def __init__(self, n_rows: int, batch_size: int, *, seed: int) -> None:
        self.batches = split_evenly(list(range(n_rows)), batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # A short batch must stay last, or every batch after it would be cut at the wrong row.
        n_full = sum(len(batch) == self.batch_size for batch in self.batches)
        for number in [*torch.randperm(n_full, generator=generator).tolist(), *range(n_full, len(self.batches))]:
            yield from self.batches[number]


class UnpairedBatch:
    """Collator for KTO: prompts with their completions, and again with their partners' where the loss asks for it.

    Of several processes that collate the same rows, each takes its own; `share` is what their mean counts for. Micro-batches
    come as `parts`.

    Args: budget: as of `cut_batch`.
    """

    def __init__(self, pad_id: int, *, with_partners: bool, budget: int = 0) -> None:
        self.pad_id = pad_id
        self.sides = {"": "completion_ids"} | ({"KL_": "KL_completion_ids"} if with_partners else {})
        self.budget = budget

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["prompt_ids"]) + max(len(row[side]) for side in self.sides.values()) for row in rows]
        parts = [self.collate(part, share=share) for part, share in cut_batch(rows, lengths, self.budget)]
        return parts[0] if len(parts) == 1 else {PARTS: parts}

    def collate(self, rows: list[dict[str, Any]], *, share: float) -> dict[str, Tensor]:
        """Return one batch."""
        inputs = {}
        for prefix, column in self.sides.items():
            batch = build_batch([row["prompt_ids"] for row in rows], [row[column] for row in rows], pad_id=self.pad_id)
            inputs |= {f"{prefix}input_ids": batch.input_ids, f"{prefix}completion_mask": batch.completion_mask}
        numbers = {name: torch.tensor([row[name] for row in rows]) for name in NUMBERS if name in rows[0]}
        n_tokens = sum(len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows)
        label = torch.tensor([row["label"] for row in rows])
        return {
            **inputs,
            **numbers,
            "label": label,
            "n_tokens": torch.tensor(n_tokens if share else 0),
            "share": torch.tensor(share, dtype=torch.float32),
        }


def build_table(rows: Sequence[EncodedCompletion], *, batch_size: int, seed: int) -> Dataset:
    """Return the rows in batches of like length, each with the completion of the row before it in its batch.

    A row that is alone in the last batch gets that of the row before: its own would measure nothing but itself.
    """
    order = list(LengthGroupedOrder([row.n_tokens for row in rows], batch_size=batch_size, seed=seed))
    partners = [batch[place - 1] for batch in split_evenly(order, batch_size) for place in range(len(batch))]
    if len(order) > 1 and partners[-1] == order[-1]:
        partners[-1] = order[-2]
    return Dataset.from_dict(
        {
            "row": order,
            "prompt_ids": [rows[number].prompt_ids for number in order],
            "completion_ids": [rows[number].completion_ids for number in order],
            "KL_completion_ids": [rows[number].completion_ids for number in partners],
            "label": [rows[number].label for number in order],
            "weight": [rows[number].weight for number in order],
        }
    )
