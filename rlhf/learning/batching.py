"""Which rows go together: rows of like length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

# Batches whose rows are sorted by length together; more would make an epoch's batches the same every time.
MEGA_BATCHES = 50


class LengthGroupedOrder(Sampler[int]):
    """A shuffled order of row numbers in which each batch holds rows of like length.

    The order is a function of the seed and the epoch alone, so a resumed run finds the batches of the interrupted one.

    Args:
        lengths: tokens of each row. batch_size: rows of a batch. seed: of the run.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        batches: list[list[int]] = []
        for mega in split_evenly(shuffled, self.batch_size * MEGA_BATCHES):
            batches += split_evenly(sorted(mega, key=lambda row: self.lengths[row]), self.batch_size)
        # A short batch must stay last, or every batch after it would be cut at the wrong row.
        n_full = sum(len(batch) == self.batch_size for batch in batches)
        order = torch.randperm(n_full, generator=generator).tolist()
        for number in [*order, *range(n_full, len(batches))]:
            yield from batches[number]


def split_evenly(rows: list[int], size: int) -> list[list[int]]:
    """Return the rows in pieces of `size`, the last of which may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def batch_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return row numbers in batches, longest rows first, each of at most `budget` padded tokens and at least one row.

    The longest come first so that a run that will not fit in memory fails at once.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
