import math
from dataclasses import replace

import pytest

from rlhf.learning.accuracy import (
    brier_score,
    calibration_error,
    describe_agreement,
    describe_slices,
    fit_temperature,
    list_hits,
    log_loss,
    wilson_interval,
)
from rlhf.learning.preferences import EncodedPair


def pair(target: float = 1.0, *, chosen_chars: int = 10, rejected_chars: int = 5, **rest) -> EncodedPair:
    said = rest.get("source", ""), rest.get("slice", "")
    return EncodedPair([1], [2], [3], target, 1.0, rest.get("margin", 0.0), chosen_chars, rejected_chars, *said)


def test_the_interval_is_wilsons():
    low, high = wilson_interval(8, 10)

    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


@pytest.mark.parametrize("n", [1, 3, 10, 17, 1000])
def test_the_interval_reaches_its_end_and_is_never_empty(n: int):
    assert wilson_interval(0, n)[0] == 0.0
    assert wilson_interval(n, n)[1] == 1.0
    assert wilson_interval(0, n)[1] == pytest.approx(1 - wilson_interval(n, n)[0])


def test_nothing_judged_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_ties_count_in_no_accuracy_and_equal_scores_count_half():
    pairs = [pair(), pair(), pair(chosen_chars=5), pair(0.5)]

    report = describe_agreement(pairs, [1.0, -1.0, 0.0, 7.0], name="eval_accuracy")

    assert report["eval_accuracy"] == pytest.approx(1.5 / 3)
    assert report["baseline_longer"] == pytest.approx(2.5 / 3)
    assert report["baseline_shorter"] == pytest.approx(0.5 / 3)
    assert (report["n_test"], report["n_test_ties"]) == (4, 1)


def test_a_target_below_one_half_says_that_the_other_is_better():
    report = describe_agreement([pair(0.2)], [-1.0], name="eval_accuracy")

    assert report["eval_accuracy"] == 1.0
    assert report["baseline_longer"] == 0.0


def test_no_knowledge_costs_log_two():
    assert log_loss([1.0, 0.5, 0.0], [0.0, 0.0, 0.0]) == pytest.approx(math.log(2))


def test_log_loss_of_a_soft_target_is_a_cross_entropy():
    p, q = 0.8, 1 / (1 + math.exp(-2.0))

    assert log_loss([p], [2.0]) == pytest.approx(-p * math.log(q) - (1 - p) * math.log(1 - q))


def test_huge_differences_do_not_overflow():
    assert log_loss([1.0], [-1e6]) == pytest.approx(1e6)


def test_a_calibrated_score_has_no_calibration_error():
    sure_by_three_quarters = [math.log(3)] * 40

    assert calibration_error([1.0, 1.0, 1.0, 0.0] * 10, sure_by_three_quarters) == pytest.approx(0.0, abs=1e-9)


def test_a_score_that_is_always_sure_and_half_the_time_wrong_is_off_by_half():
    assert calibration_error([1.0, 0.0] * 20, [40.0] * 40) == pytest.approx(0.5)


@pytest.mark.parametrize("too_sure", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_what_a_score_is_too_sure_by(too_sure: float):
    difference = math.log(3)  # right three times in four
    targets = [1.0, 1.0, 1.0, 0.0] * 100

    assert fit_temperature(targets, [too_sure * difference] * 400) == pytest.approx(too_sure, rel=0.01)


def test_ten_of_ten_in_order_are_eleven_in_twelve_sure():
    assert fit_temperature([1.0] * 10, [2.0] * 10) == pytest.approx(2 / math.log(11), rel=1e-6)


def test_nothing_held_out_leaves_the_score_as_it_is():
    assert fit_temperature([], []) == 1.0


def test_the_brier_score_is_the_mean_squared_error_of_the_probability():
    assert brier_score([1.0, 0.0], [0.0, math.log(3)]) == pytest.approx((0.25 + 0.5625) / 2)


def test_hits_are_by_line_and_leave_ties_out():
    pairs = [replace(pair(target), line=line) for line, target in ((1, 1.0), (3, 0.5), (4, 0.2), (7, 0.9))]

    assert list_hits(pairs, [2.0, 1.0, 1.0, 0.0]) == [
        {"line": 1, "hit": 1.0},
        {"line": 4, "hit": 0.0},
        {"line": 7, "hit": 0.5},
    ]


def test_slices_are_by_strength_length_and_source():
    pairs = [
        pair(margin=1.0, source="own"),
        pair(margin=1 / 3, source="own", chosen_chars=5, rejected_chars=10),
        pair(margin=1.0, source="imported:hh", chosen_chars=10, rejected_chars=10),
        pair(0.5, margin=1.0, source="own"),
    ]

    slices = describe_slices(pairs, [1.0, -1.0, 0.0, 5.0])

    assert [(row["slice"], row["n"], row["accuracy"]) for row in slices] == [
        ("alike in length", 1, 0.5),
        ("chosen is longer", 1, 1.0),
        ("rejected is longer", 1, 0.0),
        ("source imported:hh", 1, 0.5),
        ("source own", 2, 0.5),
        ("strength 1", 1, 0.0),
        ("strength 3", 2, 0.75),
    ]
    assert (slices[4]["low"], slices[4]["high"]) == pytest.approx(wilson_interval(1, 2))


def test_accuracy_is_told_apart_by_what_prompts_are_about():
    pairs = [pair(slice="code"), pair(slice="code"), pair(slice="chat")]

    slices = describe_slices(pairs, [1.0, -1.0, 1.0])

    assert [(row["slice"], row["n"], row["accuracy"]) for row in slices] == [
        ("slice chat", 1, 1.0),
        ("slice code", 2, 0.5),
    ]


def test_a_slice_that_is_everything_is_left_out():
    assert [row["slice"] for row in describe_slices([pair(source="own")] * 2, [1.0, 1.0])] == []
