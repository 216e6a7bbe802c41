import pytest

from labeling.domain.assignment import claim_slot
from labeling.domain.errors import InvalidContent
from labeling.domain.gold import make_gold
from labeling.domain.overlap import (
    OverlapChange,
    add_slots,
    ask_another,
    open_slots,
    set_overlap,
    shut_slots,
)
from labeling.domain.projects import publish_guideline
from labeling.domain.requeueing import requeue
from labeling.models import AuditEvent, Comparison, Judgment, Project, Slot
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs, claim, expire, judge, revise, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def list_slots(comparison):
    return list(comparison.slots.order_by("number").values_list("number", "state"))


def load(comparison):
    return Comparison.objects.select_related("project").get(pk=comparison.pk)


def test_added_slots_alternate_sides_and_carry_the_comparisons_facts(kitchen):
    comparison = add_pair(kitchen, priority=2, reason="active", propensity=0.5)
    Comparison.objects.update(score=0.7)

    added = add_slots(load(comparison), 2)

    assert (load(comparison).overlap, list_slots(comparison)) == (3, [(0, "free"), (1, "free"), (2, "free")])
    copies = [(slot.priority, slot.score, slot.reason, slot.propensity, slot.project_id) for slot in added]
    assert copies == [(2, 0.7, "active", 0.5, kitchen.pk)] * 2
    first, second, third = comparison.slots.order_by("number").values_list("a_shown_left", flat=True)
    assert (first, second, third) in [(True, False, True), (False, True, False)]


def test_raising_adds_slots_and_lowering_takes_free_ones_away(kitchen, ada, grace, hedy):
    comparison = add_pair(kitchen, overlap=2)
    judge(claim(kitchen, grace), grace)
    claim(kitchen, hedy)

    assert set_overlap([comparison.pk], 4, actor=ada) == OverlapChange(n_comparisons=1, n_added=2)
    assert list_slots(comparison) == [(0, "done"), (1, "held"), (2, "free"), (3, "free")]
    assert set_overlap(Comparison.objects.all(), 1, actor=ada) == OverlapChange(n_comparisons=1, n_removed=2)
    assert (list_slots(comparison), load(comparison).overlap) == ([(0, "done"), (1, "held")], 1)
    assert set_overlap([comparison.pk], 3, actor=ada) == OverlapChange(n_comparisons=1, n_added=1)
    assert list_slots(comparison) == [(0, "done"), (1, "held"), (2, "free")]


def test_a_change_of_overlap_is_on_the_trail(kitchen, ada):
    comparisons = add_pairs(kitchen, 3)

    set_overlap([row.pk for row in comparisons], 2, actor=ada)

    event = AuditEvent.objects.get(verb="comparison.overlap")
    assert (event.actor, event.project, event.subject) == (ada, kitchen, "3 comparisons")
    assert event.after == {"overlap": 2, "n_comparisons": 3, "n_added": 3, "n_removed": 0}


def test_an_overlap_out_of_range_is_refused(kitchen, ada):
    comparison = add_pair(kitchen)

    with pytest.raises(InvalidContent):
        set_overlap([comparison.pk], 101, actor=ada)


def test_slots_added_to_what_is_not_open_are_shut(kitchen, ada):
    comparison = add_pair(kitchen)
    Comparison.objects.update(state="triage")
    shut_slots([comparison.pk])

    set_overlap([comparison.pk], 2, actor=ada)

    assert list_slots(comparison) == [(0, "shut"), (1, "shut")]
    Comparison.objects.update(state="open")
    assert open_slots([comparison.pk]) == 2
    assert list_slots(comparison) == [(0, "free"), (1, "free")]


def test_gold_is_never_handed_out_as_work(kitchen, ada, grace, hedy):
    """Not by a higher overlap, a disagreement, a new guideline, nor because what was shut is opened."""
    Project.objects.update(overlap_max=5)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)
    publish_guideline(kitchen, "one")
    for labeler, strength in ((grace, -2), (hedy, 2)):
        slot = claim(kitchen, labeler)
        make_gold(comparison, ada, strength_min=1, strength_max=3)
        judge(slot, labeler, strength if slot.a_shown_left else -strength)
        Slot.objects.filter(state="shut").update(state="free")
    before = list_slots(comparison)

    changed = (
        set_overlap([comparison.pk], 3, actor=ada),
        requeue(kitchen, before_guideline=publish_guideline(kitchen, "two"), actor=ada),
    )
    added = add_slots(load(comparison), 1)

    assert before == [(0, "done"), (1, "done")]
    assert changed == (OverlapChange(n_comparisons=1, n_added=1), OverlapChange())
    assert not ask_another(load(comparison))
    assert ([slot.state for slot in added], open_slots([comparison.pk])) == (["shut"], 0)
    assert list_slots(comparison) == [*before, (2, "shut"), (3, "shut")]


def test_shutting_leaves_what_is_held_or_done(kitchen, grace, hedy):
    comparison = add_pair(kitchen, overlap=3)
    judge(claim(kitchen, grace), grace)
    claim(kitchen, hedy)

    assert shut_slots([comparison.pk]) == 1
    assert list_slots(comparison) == [(0, "done"), (1, "held"), (2, "shut")]


def disagree(project, comparison, labelers, strengths):
    """Let each say her strength of the contents; returns whether another was asked for after the last."""
    for labeler, strength in zip(labelers, strengths, strict=True):
        slot = claim(project, labeler)
        judge(slot, labeler, strength if slot.a_shown_left else -strength, scale="seven")
    return comparison.slots.filter(state="free").count()


@pytest.mark.parametrize(
    ("strengths", "n_more"),
    [((-3, 3), 1), ((-1, 1), 1), ((0, 3), 1), ((1, 3), 0), ((2, 2), 0), ((0, 2), 0)],
)
def test_disagreement_asks_for_one_more(kitchen, grace, hedy, strengths, n_more):
    Project.objects.update(overlap_max=5, spread_limit=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)

    assert disagree(kitchen, comparison, (grace, hedy), strengths) == n_more
    assert load(comparison).overlap == 2 + n_more
    assert not ask_another(load(comparison))


def test_nothing_more_is_asked_past_the_maximum_nor_before_all_are_there(kitchen, ada, grace, hedy):
    Project.objects.update(overlap_max=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)
    assert disagree(kitchen, comparison, (grace, hedy, ada), (-3, 3, 1)) == 0
    assert list_slots(comparison) == [(0, "done"), (1, "done"), (2, "done")]

    Project.objects.update(overlap_max=0)
    assert not ask_another(load(comparison))


def list_marks(comparison):
    return list(comparison.slots.order_by("number").values_list("is_conditional", flat=True))


def test_a_place_asked_for_on_disagreement_is_marked_and_so_is_what_is_said_there(kitchen, ada, grace, hedy):
    Project.objects.update(overlap_max=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)

    disagree(kitchen, comparison, (grace, hedy, ada), (-3, 3, 1))
    revise(Judgment.objects.get(labeler=ada), ada, -2)

    assert list_marks(comparison) == [False, False, True]
    marks = Judgment.objects.order_by("id").values_list("labeler__username", "is_conditional")
    assert list(marks) == [("grace", False), ("hedy", False), ("ada", True), ("ada", True)]


def test_a_late_vote_is_as_the_place_she_was_given_whichever_it_takes(kitchen, ada, grace, hedy):
    Project.objects.update(overlap_max=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)
    late = claim(kitchen, ada)
    expire(late)
    disagree(kitchen, comparison, (grace, hedy), (-3, 3))

    said = judge(late, ada)

    assert (said.slot.is_conditional, said.is_conditional) == (True, False)


@pytest.mark.parametrize("asks_on", [True, False])
def test_where_labelers_at_odds_are_asked_on_a_place_added_later_hangs_on_what_was_said(
    kitchen, ada, grace, hedy, asks_on
):
    """The contested comparison has its third vote already: the others are asked for theirs because they agreed."""
    Project.objects.update(overlap_max=3 if asks_on else 0)
    kitchen.refresh_from_db()
    contested, agreed = add_pairs(kitchen, 2, overlap=2)
    Slot.objects.filter(comparison=agreed).update(state="shut")
    disagree(kitchen, contested, (grace, hedy), (-3, 3))
    Slot.objects.filter(comparison=contested, state="free").update(state="shut")
    Slot.objects.filter(comparison=agreed).update(state="free")
    disagree(kitchen, agreed, (grace, hedy), (2, 2))
    begun = add_pair(kitchen, "How do I fry one?", overlap=2)
    judge(claim(kitchen, grace), grace)

    Project.objects.update(overlap_max=0)
    set_overlap([contested.pk, agreed.pk, begun.pk], 3, actor=ada)

    assert [list_marks(row) for row in (contested, agreed)] == [[False, False, asks_on]] * 2
    assert list_marks(begun) == [False, False, False]


@pytest.mark.django_db(transaction=True)
def test_eight_who_ask_at_once_add_one_slot(kitchen):
    Project.objects.update(overlap_max=5)
    comparison = add_pair(kitchen)
    Comparison.objects.update(n_judgments=2, spread=6)
    Slot.objects.update(state="shut")

    results = run_together(*[lambda: ask_another(load(comparison))] * 8)

    assert sorted(results) == [False] * 7 + [True]
    assert list_slots(comparison) == [(0, "shut"), (1, "free")]


@pytest.mark.django_db(transaction=True)
def test_lowering_while_labelers_claim_loses_no_claim(kitchen, ada):
    comparisons = add_pairs(kitchen, 6, overlap=3)
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(6)]

    results = run_together(
        lambda: set_overlap([row.pk for row in comparisons], 1, actor=ada),
        *[lambda labeler=labeler: claim_slot(kitchen, labeler) for labeler in labelers],
    )

    assert [result for result in results if isinstance(result, Exception)] == []
    held = {slot.pk for slot in results[1:] if slot}
    assert set(Slot.objects.filter(state="held").values_list("pk", flat=True)) == held
    assert all(row.slots.count() >= 1 for row in comparisons)
