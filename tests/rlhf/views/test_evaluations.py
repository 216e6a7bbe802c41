"""The report of a policy's evaluation, and alarms, on the page of a run."""

from __future__ import annotations

import pytest

from rlhf.views.evaluations import Line, build_report, strip_report
from tests.rlhf.conftest import make_run

RESULT = {
    "eval_rewards/accuracies": 0.7,
    "objective/kl": 2.25,
    "objective/kl_low": 2.0,
    "objective/kl_high": 2.5,
    "objective/scores": 0.9,
    "rollout/len_mean": 14.0,
    "reference/rollout/len_mean": 10.0,
    "rollout/distinct_2": 0.5,
    "reference/rollout/distinct_2": 0.8,
    "model_win_rate": 0.7,
    "model_win_rate_low": 0.6,
    "model_win_rate_high": 0.8,
    "best_of_n": [
        {"n": 1, "kl": 0.0, "score": 0.0, "doubt": 0.0},
        {"n": 2, "kl": 0.19, "score": 0.5, "doubt": 0.3},
        {"n": 4, "kl": 0.64, "score": 0.9, "doubt": 0.4},
    ],
    "tax/text_perplexity": 11.0,
    "tax/text_before": 10.0,
    "tax/text_rise": 0.1,
    "tasks": [{"task": "sums", "n": 40, "before": 0.9, "after": 0.85}],
    "tax/tasks": 0.85,
    "tax/tasks_before": 0.9,
    "signs": [{"name": "diversity_lost", "words": "Completions have become alike."}],
}


def test_the_report_says_how_far_how_varied_and_what_was_forgotten():
    report = build_report(RESULT)

    assert report.distance == "The KL to the reference is 2.25 nats a completion (95% interval 2.00 to 2.50)."
    assert report.own_words == [
        Line("Mean length, tokens", "10.0", "14.0"),
        Line("Distinct token pairs", "80.0%", "50.0%"),
    ]
    assert report.forgotten == [
        Line("Perplexity of held-out text", "10.00", "11.00", "+10.0%", is_worse=True),
        Line("Small sums, of 40", "90%", "85%", "-5 points", is_worse=True),
    ]
    assert report.verdict.startswith("The reward model prefers its completions to the reference's in 70% of pairs")
    assert [curve.key for curve in report.curve.curves] == [
        "best of n, score",
        "most doubtful judge",
        "the policy, from its reference",
    ]
    assert "to 0.9 at root of the KL 1.5" in report.curve.summary


def test_what_the_report_shows_is_not_repeated_among_the_figures():
    assert set(strip_report(RESULT)) == {
        "eval_rewards/accuracies",
        "model_win_rate",
        "model_win_rate_low",
        "model_win_rate_high",
    }


def test_the_evaluation_of_a_reward_model_has_no_report():
    assert build_report({"eval_accuracy": 0.7, "slices": []}) is None


@pytest.mark.django_db
def test_the_page_shows_the_report_and_one_sign_is_no_alarm(as_manager, project):
    run = make_run(project, kind="evaluate", state="succeeded", result=RESULT)

    page = as_manager.get(run.get_absolute_url()).content.decode()

    assert "One sign of over-optimization; two together are an alarm" in page
    assert "Completions have become alike." in page
    assert "What it may have forgotten" in page
    assert "best_of_n" not in page


@pytest.mark.django_db
def test_alarms_are_told_in_words_on_the_page_of_the_run(as_manager, project):
    alarms = [{"step": 40, "name": "unfinished", "words": "Only 40% of the completions come to an end."}]
    run = make_run(project, kind="ppo", state="succeeded", alarms=alarms)
    run.config["alarm"] = "stop"
    run.save()

    page = as_manager.get(run.get_absolute_url()).content.decode()

    assert "Alarm: it may please its reward model more than people; the run ended early" in page
    assert "Only 40% of the completions come to an end." in page
