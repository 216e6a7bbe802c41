"""Which rows a step learns from, as a function of the step's number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf.learning.batching import LengthGroupedOrder


class StepBatches:
    """Every row once an epoch, in batches of like length; a resumed run needs no cursor but the step.

    Args:
        lengths: tokens of each row. batch_size: rows of a batch; the last of an epoch may be shorter. seed: of the run.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.n_per_epoch = math.ceil(len(lengths) / batch_size)
        self._order = LengthGroupedOrder(lengths, batch_size=batch_size, seed=seed)
        self._epoch = -1
        self._rows: list[int] = []

    def rows_of(self, step: int) -> list[int]:
        """Return the row numbers of step 0, 1, ..."""
        epoch, number = divmod(step, self.n_per_epoch)
        if epoch != self._epoch:
            self._order.set_epoch(epoch)
            self._epoch, self._rows = epoch, list(self._order)
        return self._rows[number * self.batch_size : (number + 1) * self.batch_size]
