from __future__ import annotations

import math

import numpy as np
import pytest

from labeling.domain.intervals import (
    Figure,
    compute_tail,
    compute_z,
    draw_sums,
    find_interval,
    measure_share,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Brown, Cai and DasGupta 2001 and Newcombe 1998, table I (method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_newcombes(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_is_unknown_and_says_why():
    assert measure_share("gold", "gold", 0, 0, reason="no gold yet") == Figure(
        key="gold", name="gold", n=0, reason="no gold yet"
    )
    assert measure_share("gold", "gold", 3, 4, reason="") == Figure(
        key="gold",
        name="gold",
        n=4,
        value=0.75,
        low=pytest.approx(0.3006, abs=1e-4),
        high=pytest.approx(0.9544, abs=1e-4),
    )


def test_z_is_undefined_where_nothing_can_vary():
    assert [compute_z(60, 100, 0.5), compute_z(0, 0, 0.5), compute_z(3, 3, 1.0)] == [pytest.approx(2.0), None, None]


def test_the_tail_is_the_sum_of_the_binomial():
    exact = sum(math.comb(20, i) * 0.93**i * 0.07 ** (20 - i) for i in range(16))

    assert compute_tail(15, 20, 0.93) == pytest.approx(exact)
    assert [compute_tail(20, 20, 0.3), compute_tail(0, 5, 0.0), compute_tail(4, 5, 1.0)] == [1.0, 1.0, 0.0]


def test_the_bootstrap_is_that_of_drawing_items_one_by_one():
    values = np.array([1.0] * 30 + [0.0] * 70)
    rng = np.random.default_rng(1)
    means = [values[rng.integers(0, 100, 100)].mean() for _ in range(20_000)]

    sums = draw_sums(np.array([[1.0], [0.0]]), np.array([30, 70]), n_resamples=20_000)
    interval = find_interval(sums[:, 0] / 100)

    assert interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.011)


def test_the_same_items_are_drawn_again_alike_and_a_figure_mostly_undefined_has_no_interval():
    kinds, n_items = np.array([[1.0], [0.0]]), np.array([3, 7])

    assert np.array_equal(draw_sums(kinds, n_items), draw_sums(kinds, n_items))
    assert find_interval(np.array([1.0, 2.0, np.nan, np.nan, np.nan])) is None
    assert find_interval(np.array([1.0, 1.0, 1.0, np.nan, np.nan])) == (1.0, 1.0)
