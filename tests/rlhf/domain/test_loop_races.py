"""What people do to a loop while a stage of its round is under way: the stage has read the round before they did it."""

from __future__ import annotations

import pytest

from labeling.models import Comparison, Slot
from rlhf.domain import loop as life
from rlhf.domain.promoting import decide_round, roll_back
from rlhf.domain.rounds import take_stage
from rlhf.models import Loop, Round, Run
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy, succeed

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def loop():
    loop = make_circle()
    make_policy(loop.project)
    life.start_loop(loop)
    judge(loop.project, loop.threshold)
    return loop


def go_until(loop, kinds) -> Round:
    """Begin a round, let its runs of these kinds succeed and return it as a stage that is next would read it."""
    life.advance_loop(loop.pk)
    for kind in kinds:
        life.advance_loop(loop.pk)
        succeed(Run.objects.get(round__state="running", state="queued", kind=kind))
    return Round.objects.select_related("project", "base", "candidate").get(state="running")


@pytest.mark.parametrize("kinds", [["reward"], ["reward", "dpo"], ["reward", "dpo", "sample", "sample"]])
def test_a_stage_that_read_its_round_before_a_roll_back_starts_promotes_and_queues_nothing(loop, kinds):
    first = go_round(go_until(loop, []))
    judge(loop.project, loop.threshold)
    stale = go_until(loop, kinds)
    roll_back(Loop.objects.get(), first.base)
    runs, pairs = set(Run.objects.values_list("pk", "state")), Comparison.objects.count()

    after = take_stage(stale)

    assert (after.state, after.cause) == ("failed", "rolled back to sft")
    assert Loop.objects.get().policy == first.base
    assert (set(Run.objects.values_list("pk", "state")), Comparison.objects.count()) == (runs, pairs)
    assert not Slot.objects.free().filter(priority__gt=0).exists()
    assert after.decision != "promoted"


def test_nothing_is_decided_for_a_round_that_failed(loop):
    round = go_until(loop, ["reward", "dpo"])
    candidate = round.runs.get(kind="dpo").checkpoint
    Round.objects.update(state="failed", candidate=candidate)
    round.refresh_from_db()

    decide_round(round, "promoted", ["It wins."])

    assert (round.decision, Loop.objects.get().policy) == ("", round.base)


def test_who_loses_the_race_for_a_round_leaves_no_cause_on_the_page(loop):
    life.advance_loop(loop.pk)

    life.begin_next(Loop.objects.get())

    assert (Round.objects.count(), Loop.objects.get().cause) == (1, "")


def test_a_cause_kept_while_a_round_ran_is_gone_at_its_end(loop):
    life.advance_loop(loop.pk)
    Loop.objects.update(cause="a round of Circle is running: wait for it, see /loop/")

    go_round(Round.objects.get())

    assert Loop.objects.get().cause == ""


@pytest.mark.parametrize("kinds", [["reward"], ["reward", "dpo", "sample", "sample"]])
def test_a_stage_that_read_its_round_before_a_pause_waits_for_the_loop_to_be_resumed(loop, kinds):
    stale = go_until(loop, kinds)
    life.pause_loop(Loop.objects.get())
    before = Run.objects.count(), Comparison.objects.count()

    assert take_stage(stale).state == "running"
    assert (Run.objects.count(), Comparison.objects.count()) == before

    life.resume_loop(Loop.objects.get())
    go_round(stale)
    assert (stale.runs.count(), Round.objects.get().n_queued) == (4, 6)
