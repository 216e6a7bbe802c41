"""How far labelers agree, beyond chance and with intervals. Plain numbers: no database here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext_lazy as _

from labeling.domain.coefficients import (
    N_STEPS,
    cell_alpha,
    cell_exact,
    cell_signs,
    compute_alpha,
    count_steps,
    find_cell,
    list_sums,
    measure_alpha,
    measure_cohen,
    measure_exact,
    measure_fleiss,
    measure_signs,
)
from labeling.domain.intervals import Figure, Numbers, draw_sums, find_interval, wilson_interval

Vote = tuple[int, int, int]  # item, labeler, strength negative (A) .. positive (B)

MIN_ITEMS = 10  # an interval over fewer would look surer than anyone can be
NAMES = {
    "signs": _("same winner"),
    "exact": _("same step"),
    "cohen": _("Cohen's kappa of the winner"),
    "fleiss": _("Fleiss' kappa of the winner"),
    "nominal": _("Krippendorff's alpha of the winner"),
    "ordinal": _("Krippendorff's alpha of the steps' order"),
    "interval": _("Krippendorff's alpha of the steps"),
}
SHARES = ("signs", "exact")
OF_ALL: dict[str, Callable[[Numbers], Numbers]] = {
    "signs": measure_signs,
    "exact": measure_exact,
    "fleiss": measure_fleiss,
    "nominal": measure_alpha("nominal"),
    "ordinal": measure_alpha("ordinal"),
    "interval": measure_alpha("interval"),
}
OF_TWO: dict[str, Callable[[Numbers], Numbers]] = {
    "signs": cell_signs,
    "exact": cell_exact,
    "cohen": measure_cohen,
    "ordinal": cell_alpha,
}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far labelers agree in one part of a project: a slice, a week, a pair of labelers, or one against the others.

    figures, by key: signs (two labelers of one comparison name the same winner), exact (and the same step); of two
    labelers, or of one and the others, cohen (the winner); of more, fleiss (the winner); Krippendorff's alpha as ordinal
    (the order of the steps), and of more than two as nominal (the winner) and interval (the steps as numbers) too.
    """

    name: str  # which part; "" for the whole project
    n_items: int  # judged by two or more
    n_labelers: int
    n_votes: int
    figures: Sequence[Figure]


def measure_votes(votes: Iterable[Vote], *, name: str = "") -> Agreement:
    """Return how far all labelers agree on the items that two or more of them judged."""
    found = read_votes(votes)
    counts = count_steps(found[:, 0], found[:, 2])
    n_labelers = len(np.unique(found[:, 1]))
    if reason := explain_nothing(n_labelers, len(counts)):
        figures: Sequence[Figure] = [unknown(key, reason) for key in OF_ALL]
    else:
        kinds, n_items = np.unique(counts, axis=0, return_counts=True)
        values = {scale: compute_alpha(counts, scale) for scale in ("nominal", "ordinal", "interval")}
        figures = build_figures(list_sums(kinds), n_items, OF_ALL, values=values)
    return Agreement(name=name, n_items=len(counts), n_labelers=n_labelers, n_votes=len(found), figures=figures)


def measure_pair(pairs: Iterable[tuple[int, int]], *, name: str = "") -> Agreement:
    """Return how far two labelers agree, given the strengths both gave to each item they share."""
    found = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    cells = np.zeros((len(found), N_STEPS**2))
    cells[np.arange(len(found)), find_cell(found[:, 0], found[:, 1])] = 1
    return measure_cells(cells, name=name, n_labelers=2, n_votes=2 * len(found))


def measure_labeler(votes: Iterable[Vote], labeler: int, *, name: str = "") -> Agreement:
    """Return how far one labeler agrees with the others on what she judged; the others of an item weigh one together."""
    found = read_votes(votes)
    hers = found[:, 1] == labeler
    own = dict(zip(found[hers, 0].tolist(), found[hers, 2].tolist(), strict=True))
    others: dict[int, list[int]] = {}
    for item, _who, strength in found[~hers].tolist():
        if item in own:
            others.setdefault(item, []).append(strength)
    cells = np.zeros((len(others), N_STEPS**2))
    for row, (item, strengths) in enumerate(others.items()):
        for strength in strengths:
            cells[row, find_cell(own[item], strength)] += 1 / len(strengths)
    n_labelers = len(np.unique(found[np.isin(found[:, 0], list(own)), 1]))
    return measure_cells(cells, name=name, n_labelers=n_labelers, n_votes=len(own))


def measure_cells(cells: Numbers, *, name: str, n_labelers: int, n_votes: int) -> Agreement:
    """Return the figures of items given as tables of two (n_items, 81): the step of the one by the step of the other."""
    if reason := explain_nothing(n_labelers, len(cells)):
        figures: Sequence[Figure] = [unknown(key, reason) for key in OF_TWO]
    else:
        figures = build_figures(*np.unique(cells, axis=0, return_counts=True), OF_TWO)
    return Agreement(name=name, n_items=len(cells), n_labelers=n_labelers, n_votes=n_votes, figures=figures)


def read_votes(votes: Iterable[Vote]) -> Numbers:
    return np.array(list(votes), dtype=np.int64).reshape(-1, 3)


def explain_nothing(n_labelers: int, n_items: int) -> str:
    """Say why nothing can be said of agreement, or "" where something can."""
    if n_labelers == 0:
        return str(_("Nobody has judged here yet."))
    if n_labelers == 1:
        return str(_("Only one labeler has judged here: agreement needs two."))
    if n_items == 0:
        return str(_("No comparison was judged by two labelers: raise the overlap to measure agreement."))
    return ""


def unknown(key: str, reason: str) -> Figure:
    return Figure(key=key, name=str(NAMES[key]), n=0, reason=reason)


def build_figures(
    kinds: Numbers,
    n_items: Numbers,
    measures: dict[str, Callable[[Numbers], Numbers]],
    *,
    values: dict[str, float] | None = None,
) -> list[Figure]:
    """Return each measure with its interval over items; `values` are those known already."""
    total = (n_items @ kinds)[None]
    known = {key: float(measure(total)[0]) for key, measure in measures.items()} | (values or {})
    n = int(n_items.sum())
    resampled = draw_sums(kinds, n_items) if n >= MIN_ITEMS else None
    return [
        build_figure(key, known[key], n, None if resampled is None else measure(resampled))
        for key, measure in measures.items()
    ]


def build_figure(key: str, value: float, n: int, resampled: Numbers | None) -> Figure:
    """Return a figure over n items with the interval of its values over resamples, or what stands in the way."""
    name = str(NAMES[key])
    if not np.isfinite(value):
        reason = str(_("Everyone says the same of every comparison: there is no chance agreement to compare with."))
        return Figure(key=key, name=name, n=n, reason=reason)
    if resampled is None:
        reason = str(_("Judged by two or more: %(n)d. That is too few for an interval.") % {"n": n})
        return Figure(key=key, name=name, n=n, value=value, reason=reason)
    if (found := find_interval(resampled)) is None:
        return Figure(key=key, name=name, n=n, value=value)
    low, high = found
    if math.isclose(low, high, abs_tol=1e-9):  # every draw of the same items gives the same
        if key not in SHARES:
            reason = str(_("All comparisons say the same of it so far: how sure it is cannot be told."))
            return Figure(key=key, name=name, n=n, value=value, reason=reason)
        low, high = wilson_interval(round(value * n), n)
    return Figure(key=key, name=name, n=n, value=value, low=low, high=high)
