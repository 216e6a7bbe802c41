from __future__ import annotations

from typing import Any

import pytest

from rlhf.views.results import Figure, list_figures, weigh_result


def share(key: str, value: float, *, half: float = 0.05) -> dict[str, Any]:
    return {key: value, f"{key}_low": value - half, f"{key}_high": value + half}


def test_intervals_are_folded_into_their_share_and_baselines_follow_it():
    result = {"n_test": 10, **share("baseline_longer", 0.5), "eval_ece": 0.04, **share("eval_accuracy", 0.7)}

    assert list_figures(result) == [
        Figure("eval_accuracy", 0.7, 0.7 - 0.05, 0.7 + 0.05),
        Figure("baseline_longer", 0.5, 0.5 - 0.05, 0.5 + 0.05),
        Figure("n_test", 10),
        Figure("eval_ece", 0.04),
    ]


def test_a_reweighted_share_stands_beside_the_plain_one_and_says_how_it_was_measured():
    weighed = share("eval_accuracy_reweighted", 0.8) | {"n_reweighted": 41, "n_effective": 33.4}

    plain, reweighted, *_ = list_figures(weighed | share("baseline_longer", 0.5) | share("eval_accuracy", 0.7))

    assert (plain.key, plain.explanation) == ("eval_accuracy", "")
    assert (reweighted.key, reweighted.is_share) == ("eval_accuracy_reweighted", True)
    assert reweighted.explanation.startswith("Over 41 held-out pairs that chance picked")
    assert reweighted.explanation.endswith("as much as 33 that weigh alike.")


def test_a_lone_end_is_a_figure_of_its_own():
    assert list_figures({"x_low": 1.0}) == [Figure("x_low", 1.0)]


@pytest.mark.parametrize("key", ["eval_accuracy", "eval_rewards/accuracies"])
@pytest.mark.parametrize(("value", "verdict"), [(0.75, "Better than"), (0.6, "Ahead of"), (0.55, "No better than")])
def test_the_verdict_weighs_the_share_against_the_better_baseline(key, value, verdict):
    result = share(key, value) | share("baseline_longer", 0.45) | share("baseline_shorter", 0.55)

    sentence = weigh_result(result)

    assert sentence.startswith(verdict)
    assert "“the shorter is better” (55.0%)" in sentence


def test_a_model_that_only_ties_with_a_list_of_words_is_told_so():
    result = share("eval_accuracy", 0.7) | share("baseline_longer", 0.45) | share("baseline_words", 0.71)

    assert weigh_result(result).startswith("No better than “a list of good and bad words” (71.0%)")


@pytest.mark.parametrize("result", [{}, {"eval_loss": 1.2}, share("eval_accuracy", 0.7), {"eval_accuracy": 0.7}])
def test_without_share_interval_or_baseline_nothing_is_said(result):
    assert weigh_result(result) == ""


def test_the_interval_is_placed_on_a_scale_of_a_hundred():
    assert Figure("eval_accuracy", 0.7, 0.6, 0.75).place == pytest.approx({"value": 70, "low": 60, "width": 15})
