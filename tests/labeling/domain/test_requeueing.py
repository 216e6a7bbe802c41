import pytest

from labeling.domain.overlap import OverlapChange
from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.domain.requeueing import requeue
from labeling.models import AuditEvent, Judgment, Project, Slot
from tests.labeling.rows import add_pair, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def list_slots(comparison):
    return list(comparison.slots.order_by("number").values_list("number", "state"))


def test_a_breaking_guideline_queues_anew_what_followed_older_ones(kitchen, ada, grace, hedy):
    kitchen.overlap = 2
    kitchen.save()
    publish_guideline(kitchen, "one")
    full, half, fresh, unjudged = (add_pair(kitchen, f"question {n}", overlap=2, priority=9 - n) for n in range(4))
    judge(claim(kitchen, grace), grace)
    judge(claim(kitchen, grace), grace)
    judge_second(full, hedy)
    newer = publish_guideline(kitchen, "two")
    judge(claim(kitchen, grace), grace)

    assert requeue(kitchen, before_guideline=newer, actor=ada) == OverlapChange(n_comparisons=2, n_added=3)

    assert list_slots(full) == [(0, "done"), (1, "done"), (2, "free"), (3, "free")]
    assert list_slots(half) == [(0, "done"), (1, "free"), (2, "free")]
    assert list_slots(fresh) == [(0, "done"), (1, "free")]
    assert list_slots(unjudged) == [(0, "free"), (1, "free")]
    assert requeue(kitchen, before_guideline=newer, actor=ada) == OverlapChange()
    assert Judgment.objects.count() == 4
    assert AuditEvent.objects.filter(verb="comparison.requeue").count() == 2


def test_whoever_has_a_pair_before_her_reads_the_old_guideline_and_is_not_waited_for(kitchen, ada, grace, hedy, eve):
    Project.objects.update(overlap=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=3)
    judge(claim(kitchen, grace), grace)
    claim(kitchen, hedy)
    newer = publish_guideline(kitchen, "two")
    add_member(kitchen, eve, role="labeler")
    claim(kitchen, eve)

    assert requeue(kitchen, before_guideline=newer, actor=ada) == OverlapChange(n_comparisons=1, n_added=2)

    assert list_slots(comparison) == [(0, "done"), (1, "held"), (2, "held"), (3, "free"), (4, "free")]
    assert requeue(kitchen, before_guideline=newer, actor=ada) == OverlapChange()


def judge_second(comparison, labeler):
    """Judge the comparison's next slot, whatever is first in the queue."""
    Slot.objects.exclude(comparison=comparison).filter(state="free").update(state="shut")
    judge(claim(comparison.project, labeler), labeler)
    Slot.objects.filter(state="shut").update(state="free")
