import re
import uuid

import pytest

from labeling.domain.errors import (
    InvalidJudgment,
)
from labeling.domain.judging import show_vote
from labeling.models import Judgment, Project, Slot
from tests.labeling.rows import add_pair, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def claim_shown(project, labeler, *, a_left):
    """Claim the only slot, with A on the side the test needs."""
    Slot.objects.update(a_shown_left=a_left)
    return claim(project, labeler)


@pytest.fixture
def asking(kitchen):
    """A project that asks for more than a preference."""
    Project.objects.update(axes=["helpful", "true"], reasons=["wrong", "rude", "too long"])
    kitchen.refresh_from_db()
    return kitchen


@pytest.mark.parametrize(
    ("a_left", "stored"), [(True, {"helpful": -2, "true": 3}), (False, {"helpful": 2, "true": -3})]
)
def test_axes_are_about_content_and_read_the_same_on_the_page_again(asking, grace, a_left, stored):
    add_pair(asking)
    slot = claim_shown(asking, grace, a_left=a_left)

    judgment = judge(slot, grace, axes={"true": 3, "helpful": -2})

    assert Judgment.objects.get().axes == stored
    assert show_vote(judgment).axes == {"helpful": -2, "true": 3}


def test_reasons_are_kept_once_in_the_projects_order_and_axes_may_be_left_out(asking, grace):
    add_pair(asking)

    judgment = judge(claim(asking, grace), grace, reasons=["too long", "wrong", "too long"], axes={"true": 0})

    assert (judgment.reasons, judgment.axes) == (["wrong", "too long"], {"true": 0})
    assert show_vote(Judgment.objects.get()).reasons == ("wrong", "too long")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"axes": {"nice": 1}}, "'nice' is no axis of this project: helpful, true"),
        ({"axes": {"true": 4}}, "true must be a whole number from -3 to 3, got 4"),
        ({"axes": {"true": "3"}}, "got '3'"),
        ({"axes": {"true": True}}, "got True"),
        ({"axes": {"true": 1.5}}, "got 1.5"),
        ({"reasons": ["wrong", "boring"]}, "'boring' is no reason of this project: wrong, rude, too long"),
        ({"reasons": ["\x00"]}, "is no reason of this project"),
    ],
)
def test_what_the_project_does_not_ask_is_refused_and_the_claim_kept(asking, grace, changes, says):
    add_pair(asking)
    slot = claim(asking, grace)

    with pytest.raises(InvalidJudgment, match=re.escape(says)):
        judge(slot, grace, **changes)

    assert (Judgment.objects.count(), Slot.objects.get().state) == (0, "held")


def test_a_project_that_asks_nothing_says_so(kitchen, grace):
    add_pair(kitchen)

    with pytest.raises(InvalidJudgment, match="it has none"):
        judge(claim(kitchen, grace), grace, axes={"true": 1})


def test_a_trace_is_kept_as_far_as_it_is_known(kitchen, grace):
    add_pair(kitchen)

    judge(claim(kitchen, grace), grace, trace={"input_method": "key", "paste_count": -1, "spyware": "x" * 10**6})

    assert Judgment.objects.get().trace == {"input_method": "key"}


def test_a_replay_is_answered_though_the_project_asks_something_else_now(asking, grace):
    add_pair(asking)
    slot, key = claim(asking, grace), uuid.uuid4()
    first = judge(slot, grace, reasons=["rude"], idempotency_key=key)
    Project.objects.update(reasons=[])

    assert judge(slot, grace, reasons=["rude"], idempotency_key=key) == first
