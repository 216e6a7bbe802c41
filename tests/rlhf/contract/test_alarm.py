"""Each sign in closed cases, and the alarm on policies whose true reward is known."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.over_optimization import SETTINGS, simulate
from rlhf.contract.alarm import Point, describe_alarm, find_signs, find_turn


def make_history(n, **columns):
    """Each column is a function of how far the run is, from 0 to 1."""
    names = {"proxy": "alarm/proxy", "doubt": "alarm/doubt", "se": "alarm/doubt_se", "kl": "objective/kl"}
    names |= {
        "length": "rollout/reward_len_corr",
        "distinct": "rollout/distinct_2",
        "finished": "rollout/finished_frac",
    }
    return [{names[key]: column(row / (n - 1)) for key, column in columns.items()} for row in range(n)]


def judged(n, doubt):
    return make_history(n, proxy=lambda x: 3 * x, doubt=doubt, se=lambda x: 0.02)


def names_of(signs):
    return [sign.name for sign in signs]


def test_a_score_that_the_doubtful_confirm_is_no_sign():
    assert find_signs(judged(24, lambda x: 2.4 * x)) == []


def test_a_score_that_the_doubtful_deny_is_a_sign():
    signs = find_signs(judged(24, lambda x: x - 2 * x * x))

    assert names_of(signs) == ["proxy_outruns"]
    assert signs[0].words == (
        "The reward model's score rose by 0.52 standard deviations, but the most doubtful judge says that it fell by 0.42."
    )


def test_a_score_that_the_doubtful_confirm_by_half_is_a_sign_with_its_figure():
    signs = find_signs(judged(24, lambda x: 1.2 * x))

    assert signs[0].words.endswith("but the most doubtful judge confirms only 0.21 of it.")


def test_what_the_error_explains_is_no_sign():
    history = make_history(24, proxy=lambda x: 3 * x, doubt=lambda x: 1.2 * x, se=lambda x: 0.5)

    assert find_signs(history) == []


def test_a_score_that_no_longer_rises_needs_no_confirmation():
    history = make_history(24, proxy=lambda x: min(0.3, x), doubt=lambda x: -x, se=lambda x: 0.02)

    assert find_signs(history) == []


def test_the_turn_of_gaos_curve_is_found_again():
    points = [Point(d * d, 0.7 + d * (2.0 - 0.25 * d)) for d in (0.0, 0.5, 1.0, 1.5, 2.0)]

    assert find_turn(points) == pytest.approx((2.0 / (2 * 0.25)) ** 2)


def test_a_curve_that_bends_upwards_has_no_turn():
    assert find_turn([Point(d * d, d + 0.1 * d * d) for d in (0.0, 0.5, 1.0, 2.0)]) is None
    assert find_turn([Point(1.0, value) for value in (0.0, 1.0, 2.0, 3.0)]) is None


def test_noise_has_a_turn_as_seldom_as_chance_allows():
    rng = random.Random(0)
    found = [find_turn([Point(0.1 * n, rng.gauss(0, 1)) for n in range(30)]) for _ in range(200)]

    assert sum(turn is not None for turn in found) <= 12


@pytest.mark.parametrize(("furthest", "expected"), [(3.0, []), (5.0, ["kl_beyond_turn"])])
def test_a_policy_past_the_turn_is_a_sign(furthest, expected):
    """The curve turns at d = 4, a KL of 16."""
    history = make_history(
        40, kl=lambda x: (furthest * x) ** 2, doubt=lambda x: furthest * x * (2.0 - 0.25 * furthest * x)
    )

    assert names_of(find_signs(history)) == expected


def test_best_of_n_tells_of_the_turn_before_the_policy_went_far():
    curve = [Point(d * d, d * (2.0 - 0.5 * d)) for d in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)]
    history = make_history(8, kl=lambda x: 9.0, doubt=lambda x: 1.5)

    assert names_of(find_signs(history, curve=curve)) == ["kl_beyond_turn"]
    assert find_signs(history) == []


@pytest.mark.parametrize(
    ("column", "values", "name", "words"),
    [
        (
            "length",
            (0.1, 0.7),
            "length_rewarded",
            "Score and length go together: their correlation rose from 0.14 to 0.66.",
        ),
        ("length", (0.7, 0.7), None, ""),  # high, but it always was
        ("length", (0.1, 0.45), None, ""),
        ("distinct", (0.8, 0.4), "diversity_lost", "the share of distinct token pairs fell by 45%, to 0.43."),
        ("distinct", (0.8, 0.65), None, ""),
        ("finished", (1.0, 0.6), "unfinished", "Only 63% of the completions come to an end."),
        ("finished", (0.6, 0.9), None, ""),
    ],
)
def test_the_signs_of_the_texts_themselves(column, values, name, words):
    first, last = values
    signs = find_signs(make_history(24, **{column: lambda x: first + (last - first) * x}))

    assert names_of(signs) == ([name] if name else [])
    assert not name or signs[0].words.endswith(words)


def test_nothing_is_said_of_the_first_rollouts():
    assert find_signs(make_history(3, finished=lambda x: 0.0, length=lambda x: x)) == []


def test_one_sign_is_no_alarm_and_two_are():
    signs = find_signs(make_history(24, finished=lambda x: 0.5, distinct=lambda x: 1 - x))

    assert describe_alarm(signs[:1]) == ""
    assert describe_alarm(signs) == f"{signs[0].words} {signs[1].words}"


def test_it_goes_off_before_true_reward_falls_and_not_in_healthy_runs():
    """benchmarks/over_optimization.py has ten seeds of each."""
    hacked = [simulate(seed, **SETTINGS["few judgments, no penalty"]) for seed in range(4)]
    healthy = [simulate(seed, **SETTINGS["many judgments, penalty 0.1"]) for seed in range(4)]

    assert all(outcome.gold[-1] < outcome.gold[outcome.peak] - 0.5 for outcome in hacked)
    assert [outcome.alarm is not None and outcome.alarm <= outcome.peak for outcome in hacked] == [True] * 4
    assert [outcome.alarm for outcome in healthy] == [None] * 4
    assert math.sqrt(max(healthy[0].kl)) > 1.5  # healthy ones go somewhere
