from __future__ import annotations

import evalica
import numpy as np
import pandas as pd
import pytest

from labeling.domain.coefficients import (
    N_STEPS,
    PAIRS,
    compute_alpha,
    count_steps,
    find_cell,
    list_sums,
    measure_alpha,
    measure_cohen,
    measure_fleiss,
)

# Thirty patients by six psychiatrists: how many said depression, personality disorder, schizophrenia, neurosis, other.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def total(sums):
    return sums.sum(axis=0)[None]


def test_alpha_is_that_of_krippendorffs_worked_example():
    # Units by observers A to D, as printed: 12 units, 3 of them with a missing value or more.
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    votes = [
        (unit, value - 4) for row in observers for unit, value in enumerate(row) if value is not None
    ]  # values 1..5 are steps -3..1: alpha knows no zero
    counts = count_steps(np.array([unit for unit, _ in votes]), np.array([step for _, step in votes]))
    sums = total(list_sums(counts))

    # The nominal measure here is of the winner, so the published one is taken of the steps by evalica itself.
    frame = pd.DataFrame(observers, dtype=float)
    assert evalica.alpha(frame, "nominal").alpha == pytest.approx(0.743, abs=0.0005)
    for scale, published in [("ordinal", 0.815), ("interval", 0.849)]:
        assert measure_alpha(scale)(sums)[0] == pytest.approx(published, abs=0.0005)
        assert compute_alpha(counts, scale) == pytest.approx(published, abs=0.0005)
    assert sums[0, PAIRS].sum() == 40  # pairable values, says the paper


def test_nominal_alpha_is_that_of_krippendorffs_binary_example():
    # Krippendorff 2011, section A: two observers, ten units, no missing data: alpha = 0.095.
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    items = np.tile(np.arange(10), 2)
    steps = np.where(np.array(meg + owen) == 1, 2, -1)
    counts = count_steps(items, steps)

    assert measure_alpha("nominal")(total(list_sums(counts)))[0] == pytest.approx(0.095, abs=0.0005)
    assert compute_alpha(counts, "nominal") == pytest.approx(0.095, abs=0.0005)


def test_nominal_alpha_is_that_of_krippendorffs_section_b():
    # Two observers, twelve units, five values: alpha = 0.692. Values stand for steps, so evalica's own reading is asked.
    ben = "aabbdcccedda"
    gerry = "babbbccceddd"
    frame = pd.DataFrame([[ord(v) for v in ben], [ord(v) for v in gerry]], dtype=float)

    assert evalica.alpha(frame, "nominal").alpha == pytest.approx(0.692, abs=0.0005)


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_from_sums_is_evalicas(scale, seed):
    rng = np.random.default_rng(seed)
    items, steps = rng.integers(0, 40, 150), rng.integers(-3, 4, 150)
    counts = count_steps(items, steps)

    assert measure_alpha(scale)(total(list_sums(counts)))[0] == pytest.approx(compute_alpha(counts, scale), abs=1e-9)


@pytest.mark.parametrize(("category", "published"), enumerate([0.245, 0.245, 0.520, 0.471, 0.566]))
def test_fleiss_kappa_is_that_of_fleiss_1971(category, published):
    # Table 3 gives kappa by category: that of the table with all other categories taken as one.
    table = np.array([[int(digit) for digit in row] for row in FLEISS.split()])
    assert table.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    counts = np.zeros((30, N_STEPS), dtype=int)
    counts[:, 2] = table[:, category]
    counts[:, 6] = 6 - table[:, category]

    assert measure_fleiss(total(list_sums(counts)))[0] == pytest.approx(published, abs=0.0015)


def test_cohens_kappa_is_that_of_the_textbook_table():
    # Two readers of fifty grant proposals: 20 both yes, 5 and 10 split, 15 both no; agreed 0.7, by chance 0.5.
    cells = np.zeros(N_STEPS**2)
    for mine, hers, n in [(2, 2, 20), (2, -1, 5), (-3, 1, 10), (-1, -2, 15)]:
        cells[find_cell(mine, hers)] = n

    assert measure_cohen(cells[None])[0] == pytest.approx(0.4)


def test_cohens_kappa_is_that_of_cohen_1960():
    # Two hundred patients, three diagnoses: agreed 0.70, by chance 0.41.
    cells = np.zeros((N_STEPS, N_STEPS))
    cells[np.ix_([1, 4, 5], [1, 4, 5])] = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]

    assert measure_cohen(cells.reshape(1, -1))[0] == pytest.approx(0.492, abs=0.0005)
