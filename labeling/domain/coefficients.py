"""Kappa and alpha as functions of sums over items, so that drawing items again costs one product of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from labeling.domain.intervals import Numbers
from labeling.models.scales import WIDEST

Scale = Literal["nominal", "ordinal", "interval"]

STEPS = np.arange(-WIDEST, WIDEST + 1)  # of every scale: what a scale has not is a step nobody says
N_STEPS = len(STEPS)
WINNERS = (np.sign(STEPS)[:, None] == np.array([-1, 0, 1])).astype(float)  # (9, 3): whom a step names

# What an item adds: 1, how many of its pairs of votes agree on the winner and on the step, how many of its votes name
# whom, and its votes' coincidences.
N_ITEMS, SIGNS, EXACT, VOTES, PAIRS = 0, 1, 2, slice(3, 6), slice(6, 6 + N_STEPS**2)


def count_steps(items: Numbers, strengths: Numbers) -> Numbers:
    """Return how often each step was given to each item judged twice or more: (n_items, 9)."""
    _, places = np.unique(items, return_inverse=True)
    n_items = int(places.max(initial=-1)) + 1
    counts = np.bincount(N_STEPS * places + strengths + WIDEST, minlength=N_STEPS * n_items).reshape(n_items, N_STEPS)
    twice: Numbers = counts[counts.sum(axis=1) > 1]
    return twice


def list_sums(counts: Numbers) -> Numbers:
    """Return what each item adds to the sums: (n_items, 87)."""
    n = counts.sum(axis=1)
    signs = counts @ WINNERS
    pairs = n * (n - 1)
    coincidences = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(N_STEPS)
    return np.column_stack(
        [
            np.ones(len(counts)),
            (signs * (signs - 1)).sum(axis=1) / pairs,
            (counts * (counts - 1)).sum(axis=1) / pairs,
            signs,
            coincidences.reshape(len(counts), -1) / (n - 1)[:, None],
        ]
    )


def measure_signs(sums: Numbers) -> Numbers:
    """Return the chance that two labelers of one item name the same winner, each item weighing the same."""
    return divide(sums[:, SIGNS], sums[:, N_ITEMS])


def measure_exact(sums: Numbers) -> Numbers:
    """Return the chance that two labelers of one item say the very same step."""
    return divide(sums[:, EXACT], sums[:, N_ITEMS])


def measure_fleiss(sums: Numbers) -> Numbers:
    """Return Fleiss' kappa of the winner; items may have different numbers of votes. Source: Fleiss 1971."""
    shares = sums[:, VOTES] / sums[:, VOTES].sum(axis=1, keepdims=True)
    return correct_chance(measure_signs(sums), (shares**2).sum(axis=1))


def measure_alpha(scale: Scale) -> Callable[[Numbers], Numbers]:
    """Return the measure of Krippendorff's alpha: of the winner (nominal), of the steps' order, or of their distance.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section D.
    """

    def measure(sums: Numbers) -> Numbers:
        observed = sums[:, PAIRS].reshape(-1, N_STEPS, N_STEPS)
        return measure_coincidences(WINNERS.T @ observed @ WINNERS if scale == "nominal" else observed, scale)

    return measure


def measure_coincidences(observed: Numbers, scale: Scale) -> Numbers:
    """Return alpha of tables that say how often each two values were given to one item: (n, k, k), symmetric."""
    n_values = observed.sum(axis=2)
    distances = measure_distances(n_values, scale)
    expected = (n_values[:, :, None] * n_values[:, None, :] * distances).sum(axis=(1, 2))
    found = (observed * distances).sum(axis=(1, 2))
    return 1 - divide((n_values.sum(axis=1) - 1) * found, expected)


def measure_distances(n_values: Numbers, scale: Scale) -> Numbers:
    """Return the squared distance of every two values, given how often each occurs: (n, k, k)."""
    k = n_values.shape[1]
    if scale == "ordinal":
        places = n_values.cumsum(axis=1) - n_values / 2
        return (places[:, :, None] - places[:, None, :]) ** 2
    values = np.arange(k)
    gaps = np.abs(values[:, None] - values) if scale == "interval" else values[:, None] != values
    return np.broadcast_to(gaps.astype(float) ** 2, (len(n_values), k, k))


def compute_alpha(counts: Numbers, scale: Scale) -> float:
    """Return Krippendorff's alpha of items by how often each step was given: (n_items, 9); nan where nothing varies."""
    import evalica  # noqa: PLC0415 -- slow import: it brings pandas
    import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 -- slow import

    said = counts @ WINNERS if scale == "nominal" else counts
    ratings = np.full((len(said), int(said.sum(axis=1).max())), np.nan)
    # Who said what does not matter to alpha: the first column holds some vote on each item, and so on.
    items, values = np.nonzero(said)
    times = said[items, values].astype(int)
    rows = np.repeat(items, times)
    ratings[rows, np.arange(len(rows)) - np.searchsorted(rows, rows)] = np.repeat(values, times)
    result = evalica.alpha(pd.DataFrame(ratings.T), scale)
    return float(result.alpha) if result.expected else float("nan")


def cell_signs(cells: Numbers) -> Numbers:
    """Return the share of items, as tables of two, on which both name the same winner."""
    winners = to_winners(cells)
    return divide(np.trace(winners, axis1=1, axis2=2), winners.sum(axis=(1, 2)))


def cell_exact(cells: Numbers) -> Numbers:
    """Return the share of items, as tables of two, on which both say the very same step."""
    table = cells.reshape(-1, N_STEPS, N_STEPS)
    return divide(np.trace(table, axis1=1, axis2=2), table.sum(axis=(1, 2)))


def measure_cohen(cells: Numbers) -> Numbers:
    """Return Cohen's kappa of the winner over tables of two. Source: Cohen 1960."""
    winners = to_winners(cells)
    winners = winners / winners.sum(axis=(1, 2), keepdims=True)
    chance = (winners.sum(axis=1) * winners.sum(axis=2)).sum(axis=1)
    return correct_chance(np.trace(winners, axis1=1, axis2=2), chance)


def cell_alpha(cells: Numbers) -> Numbers:
    """Return Krippendorff's alpha of the steps' order over tables of two."""
    table = cells.reshape(-1, N_STEPS, N_STEPS)
    return measure_coincidences(table + table.transpose(0, 2, 1), "ordinal")


def to_winners(cells: Numbers) -> Numbers:
    """Return tables of steps (n, 81) as tables of winners (n, 3, 3)."""
    tables: Numbers = WINNERS.T @ cells.reshape(-1, N_STEPS, N_STEPS) @ WINNERS
    return tables


def find_cell(mine: Any, hers: Any) -> Any:
    """Return where in a table of two, as one row (81,), the step of the one meets the step of the other."""
    return N_STEPS * (mine + WIDEST) + hers + WIDEST


def correct_chance(agreed: Numbers, chance: Numbers) -> Numbers:
    """Return (agreed - chance) / (1 - chance), nan where all votes are the same."""
    return divide(agreed - chance, np.where(chance > 1 - 1e-12, 0.0, 1 - chance))


def divide(top: Numbers, bottom: Numbers) -> Numbers:
    """Return the ratio, nan where it has none."""
    ratio: Numbers = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)
    return ratio
