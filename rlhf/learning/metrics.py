"""Metrics of a Trainer that are read from the device when they are logged, and not at every step."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch


class DeferredMetrics:
    """Mixin, named before a TRL trainer class: `_metrics` may hold tensors, which one transfer a log call reads.

    TRL reads five to twelve scalars from the device at every step, each of which waits for the whole step.
    """

    _metrics: dict[str, defaultdict[str, list[Any]]]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Average what was gathered since the last call over steps and processes, and log it."""
        for gathered in self._metrics.values():
            if gathered:
                means = torch.stack(
                    [torch.stack([torch.as_tensor(v).float() for v in vs]).mean() for vs in gathered.values()]
                )
                means = self.accelerator.reduce(means, reduction="mean")  # type: ignore[attr-defined]
                for name, mean in zip(list(gathered), means.tolist(), strict=True):
                    gathered[name] = [mean]
        super().log(logs, start_time)  # type: ignore[misc]
