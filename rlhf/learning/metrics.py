"""Metrics of a Trainer that are read from the device when they are logged, and not at every step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Names under which no mean is wanted: how the values of the processes become one.
TOTAL = "num_tokens"
REDUCED = {
    TOTAL: lambda values: values.sum(0),
    "min_reward": lambda values: values.nan_to_num(torch.inf).amin(0),
    "max_reward": lambda values: values.nan_to_num(-torch.inf).amax(0),
}


class DeferredMetrics:
    """Mixin, named before a TRL trainer class: a step's metrics stay on the device, and one transfer a log call reads them.

    TRL reads five to twelve scalars from the device at every step, each of which waits for the whole step.
    """

    # Of every step since the last log and every name: a sum and a count, (2,).
    _metrics: dict[str, defaultdict[str, list[Any]]]

    @contextmanager
    def noting_one_step(self) -> Iterator[None]:
        """Within this context, what is noted several times under one name is of one step."""
        gathered = self._metrics[self.mode]
        n_before = {name: len(pairs) for name, pairs in gathered.items()}
        yield
        for name, pairs in gathered.items():
            if name != TOTAL:
                first = n_before.get(name, 0)
                pairs[first:] = [join_pairs(name, torch.stack(pairs[first:]))] if pairs[first:] else []

    @property
    def mode(self) -> str:
        """The name under which metrics are gathered now."""
        return "train" if self.model.training else "eval"  # type: ignore[attr-defined]

    def note(self, name: str, values: Tensor, *, share: Tensor, of: Tensor | None = None) -> None:
        """Gather the mean of a step's values over the rows or tokens of all processes.

        Every process must note the same names at the same steps, whatever its rows are: they are exchanged in one piece.

        Args: values: (n,) of this process's rows. share: what these count for, 0 where they are not its own. of: (n,) bool,
            which are meant; a step in which no process has any is left out of the mean.
        """
        chosen = torch.ones_like(values, dtype=torch.bool) if of is None else of
        pair = torch.stack([values.where(chosen, 0.0).sum(), chosen.sum()])
        self._metrics[self.mode][name].append(pair.float() * (share > 0))

    def note_total(self, n_tokens: Tensor) -> None:
        """Count the tokens of a step. n_tokens: scalar, of this process's rows."""
        if self.mode == "train":
            self._total_train_tokens = self._total_train_tokens + n_tokens
        total = torch.as_tensor(self._total_train_tokens, device=n_tokens.device)
        self._metrics[self.mode][TOTAL] = [torch.stack([total, torch.ones_like(total)]).float()]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Average what was gathered since the last call over steps and processes, and log it."""
        for gathered in self._metrics.values():
            if gathered:
                means = self.average(self.exchange(gathered))
                gathered.clear()
                gathered.update({name: [value] for name, value in means.items()})
        super().log(logs, start_time)  # type: ignore[misc]

    def exchange(self, gathered: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        """Return the value of every step by name, not a number where no process has one."""
        noted = torch.cat([torch.stack(pairs) for pairs in gathered.values()])  # (n, 2)
        parts = self.accelerator.gather(noted[None])  # type: ignore[attr-defined] # (P, n, 2)
        columns = parts.split([len(pairs) for pairs in gathered.values()], 1)
        means = {name: part.sum(0)[:, 0] / part.sum(0)[:, 1] for name, part in zip(gathered, columns, strict=True)}
        return means | {
            name: REDUCED[name](part[..., 0] / part[..., 1])
            for name, part in zip(gathered, columns, strict=True)
            if name in REDUCED
        }

    def average(self, steps: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean over the steps that have a value, by name. steps: (n,) each."""
        means = torch.stack([values.nanmean() for values in steps.values()]).tolist()
        return {
            name: mean
            for name, mean, values in zip(steps, means, steps.values(), strict=True)
            if not values.isnan().all()
        }


def join_pairs(name: str, pairs: Tensor) -> Tensor:
    """Return the sum and count of a step from those of its micro-batches. pairs: (n, 2). Returns: (2,)."""
    if name not in REDUCED:
        return pairs.sum(0)
    value = REDUCED[name](pairs[:, 0] / pairs[:, 1])
    return torch.stack([value, torch.ones_like(value)])
