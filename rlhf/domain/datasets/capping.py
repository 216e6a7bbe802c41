"""Keeps any one labeler's share of a dataset within bounds. Plain numbers: no database here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlhf.domain.datasets.consensus import Vote
from rlhf.domain.datasets.rule import InvalidRule


def find_over(votes: Iterable[Vote], *, share_max: float, seed: int) -> set[int]:
    """Return the ids of judgments to leave out so that no labeler has more than her share of the votes that are left.

    A judgment given several times stands behind so many rows, and goes whole. Which of hers go is drawn by the seed and
    their ids. Raises: InvalidRule where there are too few labelers.
    """
    found = list(votes)
    counts: Counter[int | None] = Counter(vote.labeler for vote in found if vote.labeler is not None)
    n_others = len(found) - counts.total()
    most = find_most(counts, share_max=share_max, n_others=n_others)
    if most == 0:
        raise InvalidRule(
            f"labeler_share_max {share_max:g} cannot be kept by {len(counts)} labelers: raise it to "
            f"{1 / len(counts):.2g} or more, or let more people judge"
        )
    sizes = Counter((vote.labeler, vote.judgment_id or 0) for vote in found if counts[vote.labeler] > most)
    kept: Counter[int | None] = Counter()
    over = set()
    for labeler, judgment in sorted(sizes, key=lambda named: draw(seed, named[1])):
        if kept[labeler] + sizes[labeler, judgment] > most:
            over.add(judgment)
        else:
            kept[labeler] += sizes[labeler, judgment]
    return over


def find_most(counts: Mapping[Any, int], *, share_max: float, n_others: int) -> int:
    """Return how many votes each labeler may keep at the most so that nobody's share is over share_max."""
    low, high = 0, max(counts.values(), default=0)
    if is_within(high, n_others + sum(counts.values()), share_max):
        return max(high, 1)
    while low < high:
        most = (low + high + 1) // 2
        total = n_others + sum(min(n, most) for n in counts.values())
        low, high = (most, high) if is_within(most, total, share_max) else (low, most - 1)
    return low


def is_within(n: int, total: int, share_max: float) -> bool:
    """Whether n of the total are no more than the share, but for rounding."""
    return n <= share_max * total + 1e-9


def draw(seed: int, judgment_id: int) -> str:
    return hashlib.sha256(f"{seed}:{judgment_id}".encode()).hexdigest()


def measure_shares(votes: Sequence[Vote]) -> dict[int, float]:
    """Return by labeler her share of the votes."""
    counts = Counter(vote.labeler for vote in votes if vote.labeler is not None)
    return {labeler: n / len(votes) for labeler, n in counts.items()}
