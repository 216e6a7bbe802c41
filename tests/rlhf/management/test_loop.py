"""The loop by command: what the page does, and what it says."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from labeling.domain.people import add_member
from labeling.models import AuditEvent, Membership, Slice, User
from rlhf.models import Loop, Round
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy, queue_pairs
from tests.rlhf.domain.feedback.conftest import judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop():
    loop = make_circle()
    make_policy(loop.project)
    return loop


def call(*arguments: str) -> list[str]:
    output = StringIO()
    call_command("loop", *arguments, "--project", "circle", stdout=output)
    return output.getvalue().splitlines()


def test_a_planned_round_says_how_many_judgments_it_needs_on_which_prompts(loop):
    Slice.objects.create(project=loop.project, name="code")

    said = call("start", "--set", "threshold=800", "--set", "slice=code")

    assert said[:2] == [
        "the loop of Circle is running: waits for 800 more judgments of 800 on any pair of slice code; none waits to be "
        "judged, so new pairs are about to be drawn",
        "0 of 800 new judgments for the next round",
    ]
    loop.refresh_from_db()
    assert (loop.state, loop.threshold, loop.slice.name, loop.n_pairs) == ("running", 800, "code", 6)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("threshold", "--set takes KEY=VALUE of method"),
        ("state=paused", "--set takes KEY=VALUE of method"),
        ("slice=verse", "Circle has no slice 'verse': it has none yet"),
        ("random_share=0", "random_share: Share of chance must be from 0.1 to 1"),
        ("ppo.kl_coef=-1", "settings: ppo: kl_coef must be >= 0, got -1.0"),
        ("ppo.alarm=halt", "settings: ppo: alarm must be one of warn, stop, off, got 'halt'"),
        ("pppo.alarm=stop", "settings: a round has no runs of 'pppo': there are pretrain, sft"),
        ("rule.consensus=median", "rule: consensus must be one of majority, mean3, dawid_skene, soft, strength, got"),
        ("gate=people", "gate_votes: A round queues 3 pairs that show both policies, and the gate asks for 50"),
    ],
)
def test_settings_that_cannot_be_leave_the_loop_as_it_was(loop, assignment, message):
    with pytest.raises(CommandError, match=message):
        call("start", "--set", assignment)

    assert Loop.objects.values("state", "threshold", "random_share", "gate", "settings", "rule").get() == {
        "state": "stopped",
        "threshold": 4,
        "random_share": 0.1,
        "gate": "open",
        "settings": {},
        "rule": {},
    }


def test_a_round_is_made_with_what_was_set_of_its_runs_and_of_its_rule(loop):
    judge(loop.project, 4)
    assignments = (
        "method=ppo",
        "ppo.kl_coef=0.1",
        "ppo.alarm=stop",
        "reward.head=tokens",
        "rule.consensus=dawid_skene",
    )
    set_all = [word for assignment in assignments for word in ("--set", assignment)]

    call("step", "--round", *set_all)

    runs = {run.kind: run for run in go_round(Round.objects.get()).runs.all()}
    assert (runs["ppo"].config["kl_coef"], runs["ppo"].config["alarm"]) == (0.1, "stop")
    assert runs["reward"].config["head"] == "tokens"
    assert runs["reward"].dataset.rule["consensus"] == "dawid_skene"
    assert AuditEvent.objects.get(verb="loop.edit").after == {
        "method": "ppo",
        "settings": {"ppo": {"kl_coef": 0.1, "alarm": "stop"}, "reward": {"head": "tokens"}},
        "rule": {"consensus": "dawid_skene"},
    }


def test_what_is_set_leaves_the_rest_and_what_has_no_value_has_its_default_again(loop):
    Loop.objects.update(settings={"ppo": {"kl_coef": 0.2, "alarm": "stop"}}, rule={"consensus": "soft", "note": "May"})

    call("status", "--set", "ppo.kl_coef=", "--set", "dpo:ranked.epochs=2", "--set", "rule.consensus=")

    loop.refresh_from_db()
    assert loop.settings == {"ppo": {"alarm": "stop"}, "dpo:ranked": {"epochs": 2.0}}
    assert loop.rule == {"note": "May"}


def test_it_is_paused_for_a_reason_stepped_and_rolled_back(loop):
    judge(loop.project, 4)
    call("start")
    assert call("pause", "--why", "the guideline changes")[0] == ("the loop of Circle is paused: the guideline changes")
    assert call("step")[0] == "round 1 of Circle goes on"
    call("resume")
    round = go_round(Round.objects.get())
    assert f"  {round.candidate} promoted: The gate is open: every policy passes." in call("status")

    said = call("rollback", "--to", "sft")

    assert said == [f"the policy is sft again; {round.n_queued} waiting pairs of later rounds were retired"]
    with pytest.raises(CommandError, match="name the policy to go back to with --to, one of"):
        call("rollback", "--to", "nobody")


def test_models_are_rebuilt_without_a_labeler(loop):
    judge(loop.project, 4)
    ida = User.objects.create_user("ida")
    add_member(loop.project, ida, role="labeler")
    queue_pairs(loop.project, 4)
    judge_all(loop.project, ida, preference=-2)

    said = call("rebuild", "--without", "lea", "--why", "she guessed")

    round = Round.objects.get()
    assert said == [f"{round} begins from sft on the judgments of all but lea"]
    assert round.terms["rule"]["exclude_labelers"] == ["lea"]
    assert Membership.objects.get(user__username="lea").is_quarantined
    with pytest.raises(CommandError, match="there is no 'mona'"):
        call("rebuild", "--without", "mona")
