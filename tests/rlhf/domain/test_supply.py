"""What can still fill a quota: when it is drawn anew, and that it comes first."""

from __future__ import annotations

import pytest
from django.utils import timezone

from labeling.domain.people import add_member
from labeling.models import AuditEvent, Comparison, Slice, Slot, User
from rlhf.domain import listening
from rlhf.domain import loop as life
from rlhf.domain.adjusting import read_settings, record_settings
from rlhf.domain.freshness import SENT_PRIORITY
from rlhf.domain.promoting import roll_back
from rlhf.domain.quota import read_quotas
from rlhf.domain.standing import read_standing
from rlhf.domain.supply import find_place, find_supplied, raise_supply
from rlhf.models import Loop, Round
from tests.rlhf.domain.circle import fill_quota, go_round, go_rounds, make_circle, queue_pairs, start_circle

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def loop():
    return start_circle()


def ask_for_slice(loop, comparisons=()):
    """Let the loop ask for a slice, of some prompts nobody was asked about and those of these comparisons."""
    before = read_settings(loop)
    loop.slice = Slice.objects.create(project=loop.project, name="code")
    prompts = [*loop.project.prompts.filter(comparisons=None)[:10], *(row.prompt for row in comparisons)]
    loop.project.prompts.filter(pk__in=[prompt.pk for prompt in prompts]).update(slice=loop.slice)
    Slot.objects.filter(comparison__in=comparisons).update(slice=loop.slice)
    loop.save()
    record_settings(loop, before, user=None)


def retire(comparisons):
    """Let nothing of these wait."""
    Slot.objects.filter(comparison__in=comparisons, state="free").update(state="shut")
    comparisons.update(state="retired")


def list_queue():
    """The comparisons in the order in which they are handed out, probes and chance left out."""
    return [slot.comparison for slot in Slot.objects.free().breadth_first().select_related("comparison__prompt")]


def test_pairs_of_another_slice_do_not_keep_new_ones_from_being_drawn_and_these_come_first(loop):
    queue_pairs(loop.project, 50)
    ask_for_slice(loop)
    assert read_standing(loop.project).wait == (
        "waits for 4 more judgments of 4 on any pair of slice code; none waits to be judged, so new pairs are about to be "
        "drawn"
    )
    assert listening.list_due() == [loop.pk]

    life.advance_loop(loop.pk)
    round = go_round(Round.objects.get())

    assert (round.candidate, round.n_queued, listening.list_due()) == (None, 6, [])
    assert {comparison.prompt.slice for comparison in list_queue()[:6]} == {loop.slice}
    fill_quota(loop)
    assert read_standing(loop.project).n_new == 4


def test_pairs_no_policy_wrote_do_not_keep_new_ones_of_the_policy_from_being_drawn(loop):
    round = go_rounds(loop)
    queue_pairs(loop.project, 20)
    retire(Comparison.objects.filter(priority=round.number))
    Round.objects.update(upto=Comparison.objects.latest("pk").pk + 1000)
    assert listening.list_due() == [loop.pk]

    life.advance_loop(loop.pk)
    refill = go_round(Round.objects.get(state="running"))

    assert (refill.base, refill.candidate, refill.n_queued > 0) == (round.candidate, None, True)
    assert listening.list_due() == []


def test_a_place_somebody_holds_is_waited_for(loop):
    go_rounds(loop)
    free = Slot.objects.free()
    lease = {"lease_token": "6" * 32, "lease_until": timezone.now()}
    for slot in free:
        holder = User.objects.create_user(f"labeler {slot.pk}")
        add_member(loop.project, holder, role="labeler")
        Slot.objects.filter(pk=slot.pk).update(state="held", labeler=holder, **lease)

    assert find_supplied(read_quotas([loop]).values()) == {loop.project_id}
    Slot.objects.filter(state="held").delete()
    assert find_supplied(read_quotas([loop]).values()) == set()


def test_supply_of_many_projects_is_found_together(loop, django_assert_num_queries):
    go_rounds(loop)
    plain, sliced, empty = (make_circle(slug, n_prompts=2) for slug in ("plain", "sliced", "empty"))
    for other in (plain, sliced):
        queue_pairs(other.project, 1)
    ask_for_slice(sliced, sliced.project.comparisons.all())

    quotas = list(read_quotas(Loop.objects.select_related("policy", "slice")).values())
    with django_assert_num_queries(3):
        found = find_supplied(quotas)

    assert found == {loop.project_id, plain.project_id, sliced.project_id}
    assert empty.project_id not in found


def test_pairs_of_a_slice_come_first_from_when_it_is_asked_for_as_many_as_are_needed(loop):
    queue_pairs(loop.project, 20)
    rows = list(Comparison.objects.order_by("pk"))
    Comparison.objects.filter(pk=rows[0].pk).update(priority=5)
    Slot.objects.filter(comparison=rows[0]).update(priority=5)

    ask_for_slice(loop, rows[10:16])

    raised = list(Comparison.objects.filter(priority=6))
    assert (len(raised), {row.prompt.slice for row in raised}) == (4, {loop.slice})
    assert set(list_queue()[:4]) == set(raised)
    event = AuditEvent.objects.get(verb="comparison.raise")
    assert sorted(event.after["ids"]) == sorted(row.pk for row in raised)
    assert event.after["because"] == "the next round asks for any pair of slice code"
    assert raise_supply(loop.project) == 0


def test_a_quota_without_a_wish_raises_nothing(loop):
    queue_pairs(loop.project, 5)

    assert raise_supply(loop.project) == 0
    assert set(Comparison.objects.values_list("priority", flat=True)) == {0}


def test_the_pairs_of_a_round_come_before_all_that_waited_but_what_was_sent_to_people(loop):
    fill_quota(loop)
    queue_pairs(loop.project, 3)
    first, sent, _ = Comparison.objects.filter(slots__state="free").order_by("pk")
    for row, priority in ((first, 7), (sent, SENT_PRIORITY)):
        Comparison.objects.filter(pk=row.pk).update(priority=priority)
        Slot.objects.filter(comparison=row).update(priority=priority)

    round = go_rounds(loop)

    queue = list_queue()
    assert (queue[0], queue[1 + round.n_queued]) == (sent, first)
    assert {row.priority for row in queue[1 : 1 + round.n_queued]} == {8}


def test_pairs_of_a_candidate_turned_down_come_after_those_of_the_policy_that_stays(loop):
    first = go_rounds(loop)
    second = go_rounds(loop)
    n_old = Slot.objects.free().filter(priority=first.number).count()
    Round.objects.filter(pk=second.pk).update(decision="kept", decided_at=second.created_at)
    Loop.objects.update(policy=first.candidate, threshold=20)

    n_raised = raise_supply(loop.project)

    words = f"Policy {first.candidate_id} "
    is_of_policy = [words in row.completion_a.text + row.completion_b.text for row in list_queue()]
    assert 0 < n_old < n_raised == sum(is_of_policy) < len(is_of_policy)
    assert is_of_policy == sorted(is_of_policy, reverse=True)


def test_what_a_policy_wrote_comes_first_again_when_the_loop_goes_back_to_it(loop):
    first = go_rounds(loop)
    Loop.objects.update(stale_after=1)
    go_rounds(loop)
    queue_pairs(loop.project, 3)
    n_waiting = Slot.objects.free().filter(comparison__priority=-1).count()
    assert n_waiting

    roll_back(Loop.objects.get(), first.candidate)

    priorities = [row.priority for row in list_queue()]
    assert priorities == [1] * n_waiting + [0] * (len(priorities) - n_waiting)


def test_no_round_comes_before_what_was_sent_to_people(loop):
    assert find_place(Round(project=loop.project, number=7)) == 7
    assert find_place(Round(project=loop.project, number=1000)) == SENT_PRIORITY - 1
