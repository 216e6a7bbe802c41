"""What lets a candidate take its predecessor's place, and what keeps it out, in words."""

from __future__ import annotations

import pytest

from labeling.domain.people import add_member
from labeling.models import User, Verdict
from rlhf.domain.gate import decide
from tests.rlhf.conftest import make_checkpoint, make_run
from tests.rlhf.domain.test_win_rate import make_meeting, vote

pytestmark = pytest.mark.django_db
PEOPLE = {"gate": "people", "gate_votes": 20, "gate_win_rate": 0.5, "tax_limit": 0.1}
FIGURES = PEOPLE | {"gate": "figures"}
ALARM = [{"step": 4, "name": "alarm", "words": "Two signs."}]


@pytest.fixture
def baseline(project):
    return make_checkpoint(project, name="sft")


@pytest.fixture
def candidate(project, baseline):
    run = make_run(project, kind="ppo", state="succeeded", base=baseline)
    return make_checkpoint(project, name="ppo", run=run, parent=baseline)


@pytest.fixture
def people(project):
    users = [User.objects.create_user(name) for name in ("ann", "ben")]
    for user in users:
        add_member(project, user, role="labeler")
    return users


def evaluate(candidate, baseline, **result):
    return make_run(
        candidate.project, kind="evaluate", state="succeeded", base=candidate, other=baseline, result=result
    )


def cast(candidate, baseline, people, *, wins, losses):
    for number in range(wins + losses):
        verdict = Verdict.A if number < wins else Verdict.B
        vote(make_meeting(candidate, baseline), people[number % 2], verdict)


def test_people_who_prefer_it_let_it_pass(candidate, baseline, people):
    evaluate(candidate, baseline, **{"tax/text_rise": 0.04})
    cast(candidate, baseline, people, wins=19, losses=3)

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is True
    assert verdict.reasons == [
        "People prefer ppo to sft in 86% of 22 votes (95% interval 67% to 100%): the lower bound is over the 50% the "
        "gate asks for.",
        "Its perplexity on held-out text is 4.0% higher than before: within the 10% that is allowed.",
        "No alarm of over-optimization.",
    ]
    assert verdict.figures["votes"] == 22
    assert verdict.figures["tax"] == 0.04


def test_a_lead_that_chance_explains_does_not_pass(candidate, baseline, people):
    evaluate(candidate, baseline)
    cast(candidate, baseline, people, wins=13, losses=9)

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is False
    assert "is not over the 50%" in verdict.reasons[0]


def test_too_few_votes_leave_it_open(candidate, baseline, people):
    evaluate(candidate, baseline)
    cast(candidate, baseline, people, wins=5, losses=0)

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is None
    assert verdict.reasons[0] == "5 of the 20 votes on completions of ppo against those of sft."


def test_without_an_evaluation_it_cannot_be_said(candidate, baseline, people):
    cast(candidate, baseline, people, wins=20, losses=0)
    evaluate(candidate, make_checkpoint(candidate.project), **{"tax/text_rise": 0.0})  # against another

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is None
    assert verdict.reasons[1] == (
        f"ppo has not been evaluated against sft: manage.py evaluate --project harbour --base {candidate.pk}"
    )


@pytest.mark.parametrize("terms", [PEOPLE, FIGURES], ids=["people", "figures"])
def test_too_high_a_tax_keeps_it_out_whoever_likes_it(candidate, baseline, people, terms):
    evaluate(
        candidate,
        baseline,
        **{"tax/text_rise": 0.25, "model_win_rate": 0.9, "model_win_rate_low": 0.8, "model_win_rate_high": 0.95},
    )
    cast(candidate, baseline, people, wins=22, losses=0)

    verdict = decide(candidate, terms=terms, baseline=baseline)

    assert verdict.passes is False
    assert "25.0% higher than before: over the 10%" in verdict.reasons[0]  # what speaks against it comes first


@pytest.mark.parametrize(
    ("measured", "passes", "words"),
    [
        ({"tax/demonstrations_rise": 0.3}, False, "held-out demonstrations is 30.0% higher than before: over the 10%"),
        ({"tax/tasks_before": 0.8, "tax/tasks": 0.6}, False, "It does 60% of the small tasks right, before 80%: over"),
        ({"tax/tasks_before": 0.8, "tax/tasks": 0.75}, True, "small tasks right, before 80%: within the 10%"),
        ({"tax/tasks_before": 0.5, "tax/tasks": 0.9}, True, "small tasks right, before 50%: within the 10%"),
    ],
)
def test_forgotten_demonstrations_and_tasks_are_a_tax_too(candidate, baseline, people, measured, passes, words):
    evaluate(candidate, baseline, **{"tax/text_rise": 0.02} | measured)
    cast(candidate, baseline, people, wins=22, losses=0)

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is passes
    tax = verdict.reasons[int(passes)]
    assert "held-out text is 2.0% higher than before: within the 10% that is allowed" in tax
    assert words in tax
    assert "over the" not in tax.partition(". ")[2]  # the one that is over is told first


def test_an_alarm_in_training_keeps_it_out(candidate, baseline, people):
    evaluate(candidate, baseline)
    cast(candidate, baseline, people, wins=22, losses=0)
    candidate.run.alarms = ALARM
    candidate.run.save()

    verdict = decide(candidate, terms=PEOPLE, baseline=baseline)

    assert verdict.passes is False
    assert verdict.reasons[0] == "Alarm of over-optimization: Two signs."


def test_an_alarm_in_training_keeps_its_average_with_the_baseline_out(candidate, baseline, people, project):
    candidate.run.alarms = ALARM
    candidate.run.save()
    merge = make_run(project, kind="merge", state="succeeded", base=baseline, other=candidate)
    mean = make_checkpoint(project, name="mean", run=merge, parent=baseline)
    evaluate(mean, baseline)
    cast(mean, baseline, people, wins=22, losses=0)

    verdict = decide(mean, terms=PEOPLE, baseline=baseline)

    assert (verdict.passes, verdict.reasons[0]) == (False, "Alarm of over-optimization: Two signs.")


def test_an_alarm_before_the_baseline_was_made_is_the_baselines_own(candidate, baseline, people, project):
    evaluate(candidate, baseline)
    cast(candidate, baseline, people, wins=22, losses=0)
    baseline.run = make_run(project, kind="ppo", state="succeeded", alarms=ALARM)
    baseline.save()

    assert decide(candidate, terms=PEOPLE, baseline=baseline).passes is True


def test_one_sign_is_told_and_two_keep_it_out(candidate, baseline):
    shares = {"model_win_rate": 0.8, "model_win_rate_low": 0.7, "model_win_rate_high": 0.9}
    signs = [{"name": "short", "words": "It is cut off."}, {"name": "same", "words": "It repeats."}]
    evaluate(candidate, baseline, signs=signs[:1], **shares)
    one = decide(candidate, terms=FIGURES, baseline=baseline)
    evaluate(candidate, baseline, signs=signs, **shares)
    two = decide(candidate, terms=FIGURES, baseline=baseline)

    assert (one.passes, one.reasons[2]) == (True, "No alarm of over-optimization. One sign: It is cut off.")
    assert (two.passes, two.reasons[0]) == (False, "Alarm of over-optimization: It is cut off. It repeats.")


def test_people_liking_it_less_than_its_predecessor_is_a_sign(candidate, baseline, people, project):
    oldest = make_checkpoint(project, name="oldest", kind="policy")
    middle = make_checkpoint(project, name="middle", parent=oldest)
    late = make_checkpoint(project, name="late", parent=middle, run=make_run(project, kind="ppo", state="succeeded"))
    cast(middle, oldest, people, wins=28, losses=4)
    cast(late, oldest, people, wins=9, losses=15)
    shares = {"model_win_rate": 0.8, "model_win_rate_low": 0.7, "model_win_rate_high": 0.9}
    evaluate(late, middle, signs=[{"name": "same", "words": "It repeats."}], **shares)

    verdict = decide(late, terms=FIGURES, baseline=middle)

    assert verdict.passes is False
    assert "It repeats. People's win rate against oldest is 38%, under the lower bound" in verdict.reasons[0]


def test_by_figures_the_reward_models_lower_bound_decides(candidate, baseline):
    evaluate(candidate, baseline, model_win_rate=0.6, model_win_rate_low=0.49, model_win_rate_high=0.7)
    assert decide(candidate, terms=FIGURES, baseline=baseline).passes is False

    evaluate(candidate, baseline, model_win_rate=0.6, model_win_rate_low=0.53, model_win_rate_high=0.67)
    assert decide(candidate, terms=FIGURES, baseline=baseline).passes is True


def test_the_most_doubtful_judge_decides_where_there_is_one(candidate, baseline):
    shares = {"model_win_rate": 0.8, "model_win_rate_low": 0.7, "model_win_rate_high": 0.9}
    evaluate(candidate, baseline, **shares, doubt_win_rate=0.5, doubt_win_rate_low=0.4, doubt_win_rate_high=0.6)

    verdict = decide(candidate, terms=FIGURES, baseline=baseline)

    assert verdict.passes is False
    assert "By the most doubtful of its judges" in verdict.reasons[0]


def test_an_open_gate_lets_everything_pass(candidate, baseline):
    candidate.run.alarms = ALARM
    candidate.run.save()

    assert decide(candidate, terms={"gate": "open"}, baseline=baseline).passes is True


def test_terms_left_unsaid_are_the_loops_defaults(candidate, baseline):
    assert decide(candidate, terms={}, baseline=baseline).reasons[0].startswith("0 of the 50 votes")
