"""A batch learned from in parts that fit in memory: the same losses and gradients as in one piece, to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.processes import process_count, process_rank, share_of, take_share

PARTS = "parts"


def cut_batch(rows: Sequence[Any], lengths: Sequence[int], budget: int) -> list[tuple[list[Any], float]]:
    """Return this process's part of a batch as micro-batches, each with its share: what a mean over it counts for.

    The mean over the processes of the sum over the micro-batches of (mean over its rows) times (its share) is the mean over
    the batch. Gradient exchanges and sharded models wait for each other in every pass, so all processes have as many
    micro-batches: who has fewer repeats a row, with a share of 0.

    Args: lengths: tokens of each row. budget: padded tokens of a micro-batch, which has one row at least; 0 sets no limit.
    """
    if not budget:
        return [take_share(rows)]
    longest_first = sorted(range(len(rows)), key=lambda row: -lengths[row])
    cuts = []
    for rank in range(process_count()):
        mine = share_of(longest_first, rank)
        cuts.append(
            [[mine[place] for place in part] for part in batch_by_tokens([lengths[row] for row in mine], budget)]
        )
    parts = [([rows[row] for row in part], len(part) * process_count() / len(rows)) for part in cuts[process_rank()]]
    return parts + [([rows[longest_first[-1]]], 0.0)] * (max(map(len, cuts)) - len(parts))


class MicroBatches:
    """Mixin, named before a TRL trainer class: what a collator hands over as `parts` is learned from part by part.

    The optimizer steps once for all of them, and their metrics are noted as those of one step.
    """

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Accumulate the gradient of a batch and return its loss."""
        if PARTS not in inputs:
            return super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc, no-any-return]
        model.train()  # also tells under which mode metrics are noted
        parts = self.prepare_parts(model, inputs[PARTS])
        losses = []
        with self.noting_one_step():  # type: ignore[attr-defined]
            for number, part in enumerate(parts, 1):
                is_last = number == len(parts)
                with nullcontext() if is_last else self.accelerator.no_sync(model):  # type: ignore[attr-defined]
                    losses.append(super().training_step(model, part, *args, **kwargs))  # type: ignore[misc]
        return torch.stack(losses).sum()

    def prepare_parts(self, model: Any, parts: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return the parts with what a loss must know of the whole batch before it sees the first of them."""
        return parts

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the operations of a step as transformers counts them."""
        return sum(super(MicroBatches, self).floating_point_ops(part) for part in inputs.get(PARTS, [inputs]))  # type: ignore[misc]
