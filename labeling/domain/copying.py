"""Labelers who say the same far more often than they could by themselves. Plain numbers: no database here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labeling.domain.intervals import Numbers, compute_tail

MIN_COMMON = 25
# Decided anew at every 25th comparison they share, each time at this chance of so few differences by themselves: for
# any two of 40 honest labelers together that is once in a thousand times.
TAIL = 1e-6
LEAST_RATIO = 1 / 3  # of the differences expected: honest labelers of one mind still differ about as often as others


@dataclass(frozen=True, kw_only=True)
class Copying:
    """Two labelers who named the same winner `same` times of `n`, where `expected` would be usual for them."""

    labelers: tuple[int, int]
    n: int
    same: int
    expected: int


def find_copying(votes: Iterable[tuple[int, int, int]]) -> list[Copying]:
    """Return the pairs of labelers that stand out, given (item, labeler, strength) of work in the order it was judged.

    What is usual for a labeler is the median of how often she agrees with each other one: if she has five accomplices
    among forty, the median is not theirs. Ties are left out, for two who see no difference agree easily.
    """
    found = np.array([vote for vote in votes if vote[2]], dtype=np.int64).reshape(-1, 3)
    ids, places = np.unique(found[:, 1], return_inverse=True)
    pairs, same = match_votes(found[:, 0], places, np.sign(found[:, 2]))
    codes, kinds, n_common = np.unique(pairs, return_inverse=True, return_counts=True)
    rates = np.bincount(kinds, weights=same, minlength=len(codes)) / n_common
    names = np.column_stack([ids[codes // len(ids)], ids[codes % len(ids)]]) if len(ids) else np.zeros((0, 2))
    is_enough = n_common >= MIN_COMMON
    usual = find_usual(names[is_enough], rates[is_enough])
    tops = [max_usual(pair, usual) for pair in names]
    suspects = [kind for kind in np.flatnonzero(is_enough) if rates[kind] > (1 + tops[kind]) / 2]
    decided = [decide_pair(names[kind], same[kinds == kind], tops[kind]) for kind in suspects]
    return [copying for copying in decided if copying]


def match_votes(items: Numbers, labelers: Numbers, signs: Numbers) -> tuple[Numbers, Numbers]:
    """Return for every two votes on one item the pair of labelers (n,), as one number, and whether they say the same.

    Labelers are 0 .. L - 1, and a pair is the first times L plus the second. Pairs come in the order of their later vote.
    """
    order = np.lexsort((labelers, items))
    items, labelers, signs = items[order], labelers[order], signs[order]
    n_labelers = int(labelers.max(initial=-1)) + 1
    found: list[Numbers] = []
    for lag in range(1, int(np.unique(items, return_counts=True)[1].max(initial=0))):
        first = np.flatnonzero(items[lag:] == items[:-lag])
        pair = labelers[first] * n_labelers + labelers[first + lag]
        found.append(np.stack([np.maximum(order[first], order[first + lag]), pair, signs[first] == signs[first + lag]]))
    when, pairs, same = np.concatenate([np.zeros((3, 0), dtype=np.int64), *found], axis=1)
    by_time = np.argsort(when, kind="stable")
    return pairs[by_time], same[by_time].astype(bool)


def find_usual(names: Numbers, rates: Numbers) -> dict[int, float]:
    """Return each labeler's median rate of agreement with the others."""
    by_labeler: dict[int, list[float]] = {}
    for (one, other), rate in zip(names.tolist(), rates.tolist(), strict=True):
        by_labeler.setdefault(one, []).append(rate)
        by_labeler.setdefault(other, []).append(rate)
    return {labeler: float(np.median(found)) for labeler, found in by_labeler.items() if len(found) > 1}


def max_usual(pair: Numbers, usual: dict[int, float]) -> float:
    return max(usual.get(labeler, 1.0) for labeler in pair.tolist())


def decide_pair(pair: Numbers, same: Numbers, rate: float) -> Copying | None:
    """Decide on two labelers by what they share, in the order it came, up to the last full block; rate is usual."""
    n = len(same) // MIN_COMMON * MIN_COMMON
    n_same = int(same[:n].sum())
    is_alike = n - n_same <= LEAST_RATIO * n * (1 - rate)
    if not is_alike or compute_tail(n - n_same, n, 1 - rate) >= TAIL:
        return None
    one, other = pair.tolist()
    return Copying(labelers=(one, other), n=n, same=n_same, expected=round(n * rate))
