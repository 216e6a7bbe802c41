"""Shares and their intervals, and figures that say why they cannot be known. Plain numbers: no database here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Z_95 = 1.959963984540054
N_RESAMPLES = 500
SEED = 20

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number with its 95% interval, or the sentence that says why there is none.

    key: what to know it by. n: of how many it is measured. reason: what stands in the way of the value, or of its
    interval; "" where both are known.
    """

    key: str
    name: str
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def is_known(self) -> bool:
        return self.value is not None


def wilson_interval(k: float, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of a share k of n > 0. Source: Wilson 1927."""
    share, scale = k / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def measure_share(key: str, name: str, k: int, n: int, *, reason: str) -> Figure:
    """Return k of n as a figure with Wilson's interval; without any n it is unknown for this reason."""
    if n == 0:
        return Figure(key=key, name=name, n=0, reason=reason)
    low, high = wilson_interval(k, n)
    return Figure(key=key, name=name, n=n, value=k / n, low=low, high=high)


def compute_z(k: int, n: int, share: float) -> float | None:
    """Return by how many standard deviations k of n lies above an expected share; None where nothing can vary."""
    if n == 0 or not 0 < share < 1:
        return None
    return (k - n * share) / math.sqrt(n * share * (1 - share))


def compute_tail(k: int, n: int, share: float) -> float:
    """Return the probability of at most k of n by chance, each with probability share."""
    if not 0 < share < 1:
        return 1.0 if k >= n or share == 0 else 0.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(min(k, n) + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def draw_sums(kinds: Numbers, n_items: Numbers, *, n_resamples: int = N_RESAMPLES, seed: int = SEED) -> Numbers:
    """Return the sums over items drawn again with replacement (n_resamples, n_sums): the same for the same items.

    Items of one kind are drawn together, which is what makes it fast.

    Args: kinds: what an item of each kind adds to the sums that figures are made of (n_kinds, n_sums). n_items: how many
        there are of each kind (n_kinds,).
    """
    total = int(n_items.sum())
    draws = np.random.default_rng(seed).multinomial(total, n_items / total, size=n_resamples)
    sums: Numbers = draws.astype(float) @ kinds
    return sums


def find_interval(values: Numbers) -> tuple[float, float] | None:
    """Return the percentile interval of a figure given its values over resamples; None if it is mostly undefined."""
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
