from __future__ import annotations

import time

import numpy as np
import pytest

from labeling.domain.crowd import fit_crowd
from tests.labeling.crowds import ALWAYS_A, INVERTED, RANDOM, draw_crowd, draw_kinds

BAD = {RANDOM: 0.2, INVERTED: 0.1, ALWAYS_A: 0.1}


def to_classes(strengths):
    """A, tie, B as 0, 1, 2."""
    return np.sign(strengths) + 1


def accuracy_of(scores, truth):
    """Share of items on whose right side the score lies; an undecided item is half right."""
    return float(np.mean(np.where(scores == 0, 0.5, np.sign(scores) == truth)))


def majority_of(items, strengths, n_items):
    return np.sign(np.bincount(items, weights=np.sign(strengths), minlength=n_items))


def fit(items, labelers, strengths):
    return fit_crowd(items, labelers, to_classes(strengths), n_classes=3)


@pytest.mark.parametrize("seed", range(5))
def test_it_beats_the_majority_where_two_in_five_are_bad(seed):
    rng = np.random.default_rng(seed)
    items, labelers, strengths, truth = draw_crowd(draw_kinds(40, shares=BAD), rng, n_items=1000, overlap=3)

    crowd = fit(items, labelers, strengths)

    by_majority = accuracy_of(majority_of(items, strengths, 1000), truth)
    assert accuracy_of(crowd.posterior[:, 2] - crowd.posterior[:, 0], truth) >= by_majority + 0.04


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_spam_and_a_fifth_inverted_cost_little(seed):
    rng = np.random.default_rng(seed)
    kinds = draw_kinds(40, shares={RANDOM: 0.1, INVERTED: 0.2})
    items, labelers, strengths, truth = draw_crowd(kinds, rng, n_items=1000, overlap=3)

    crowd = fit(items, labelers, strengths)

    by_majority = accuracy_of(majority_of(items, strengths, 1000), truth)
    assert accuracy_of(crowd.posterior[:, 2] - crowd.posterior[:, 0], truth) - by_majority >= 0.10


def test_inverted_labelers_are_read_the_other_way_round():
    rng = np.random.default_rng(0)
    kinds = draw_kinds(10, shares={INVERTED: 0.3})
    items, labelers, strengths, truth = draw_crowd(kinds, rng, n_items=800, overlap=5)
    is_honest = labelers >= 3

    whole = fit(items, labelers, strengths)
    honest = fit(items[is_honest], labelers[is_honest], strengths[is_honest])

    by_all = accuracy_of(whole.posterior[:, 2] - whole.posterior[:, 0], truth)
    left = np.zeros(800)
    left[honest.items] = honest.posterior[:, 2] - honest.posterior[:, 0]
    assert by_all > accuracy_of(left, truth)
    assert [rate > 0.5 for rate in whole.measure_reliability().values()] == [False] * 3 + [True] * 7


def test_it_finds_how_reliable_each_labeler_is():
    rng = np.random.default_rng(1)
    kinds = draw_kinds(20, shares={RANDOM: 0.2})
    items, labelers, strengths, _ = draw_crowd(kinds, rng, n_items=3000, overlap=5, accuracy=0.9)

    rates = list(fit(items, labelers, strengths).measure_reliability().values())

    assert rates[:4] == pytest.approx([0.5] * 4, abs=0.06)
    assert rates[4:] == pytest.approx([0.9] * 16, abs=0.06)


@pytest.mark.parametrize("seed", range(10))
def test_the_objective_never_falls(seed):
    rng = np.random.default_rng(seed)
    items, labelers = rng.integers(0, 50, 300), rng.integers(0, 12, 300)

    objective = fit_crowd(items, labelers, rng.integers(0, 4, 300), n_classes=4).objective

    assert len(objective) > 2
    assert np.diff(objective).min() > -1e-8


def test_two_honest_votes_outweigh_one_and_one_alone_is_believed():
    crowd = fit_crowd([7, 7, 7, 9], [1, 2, 3, 1], [0, 0, 2, 2], n_classes=3)

    assert crowd.items.tolist() == [7, 9]
    assert crowd.posterior.argmax(axis=1).tolist() == [0, 2]
    assert crowd.posterior.sum(axis=1) == pytest.approx([1, 1])


def test_the_order_of_votes_and_the_ids_change_nothing():
    rng = np.random.default_rng(5)
    items, labelers, strengths, _ = draw_crowd(draw_kinds(9, shares=BAD), rng, n_items=60, overlap=3)
    order = rng.permutation(len(items))

    straight, shuffled = fit(items, labelers, strengths), fit(items[order], 100 - labelers[order], strengths[order])

    assert shuffled.posterior == pytest.approx(straight.posterior)


def test_no_votes_are_no_crowd():
    assert fit_crowd([], [], [], n_classes=3).measure_reliability() == {}


def test_a_hundred_thousand_votes_take_no_quadratic_time():
    rng = np.random.default_rng(2)
    items, labelers, strengths, _ = draw_crowd(draw_kinds(100, shares=BAD), rng, n_items=33_334, overlap=3)

    started = time.perf_counter()
    fit(items, labelers, strengths)

    assert time.perf_counter() - started < 120  # about one on an idle machine: benchmarks/crowd.py
