import uuid
from datetime import timedelta

import pytest
from django.db.models import Count
from django.utils import timezone

from labeling.domain.assignment import (
    EmptyReason,
    claim_slot,
    explain_empty,
    find_claim,
    free_expired,
    release_slot,
    renew_lease,
)
from labeling.domain.errors import NotAMember
from labeling.domain.skipping import skip_comparison
from labeling.models import Completion, Membership, Slot, User
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs, claim, expire, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_a_claim_is_held_under_a_lease(kitchen, grace):
    add_pair(kitchen)
    before = timezone.now()

    slot = claim(kitchen, grace)

    assert (slot.state, slot.labeler, type(slot.lease_token)) == ("held", grace, uuid.UUID)
    assert abs(slot.lease_until - before - timedelta(seconds=kitchen.lease_s)) < timedelta(seconds=10)
    assert abs(slot.shown_at - before) < timedelta(seconds=10)


def test_she_gets_the_claim_she_holds_with_its_lease_renewed(kitchen, grace):
    add_pairs(kitchen, 3)
    first = claim(kitchen, grace)
    expire(first)

    again = claim(kitchen, grace)

    assert (again.pk, again.shown_at) == (first.pk, first.shown_at)
    assert Slot.objects.get(pk=first.pk).lease_until > timezone.now()
    assert Slot.objects.filter(state="held").count() == 1


def test_higher_priority_is_claimed_first(kitchen, grace):
    add_pair(kitchen, "later", priority=0)
    urgent = add_pair(kitchen, "urgent", priority=3)

    assert claim(kitchen, grace).comparison == urgent


def test_every_comparison_is_claimed_once_before_any_is_claimed_twice(kitchen, ada, grace, hedy):
    first = add_pair(kitchen, "urgent", priority=9, overlap=2)
    second = add_pair(kitchen, "calm", overlap=2)

    claimed = [claim(kitchen, labeler).comparison for labeler in (ada, grace, hedy)]

    assert claimed == [first, second, first]


def test_a_held_slot_goes_to_nobody_else_until_its_lease_has_run_out(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    assert claim_slot(kitchen, hedy) is None

    expire(slot)

    assert claim(kitchen, hedy).pk == slot.pk


def test_a_labeler_never_gets_what_she_judged_skipped_or_wrote(kitchen, grace):
    written = add_pairs(kitchen, 3, overlap=5)[2]
    Completion.objects.filter(pk=written.completion_b_id).update(author=grace)
    judge(claim(kitchen, grace), grace)
    slot = claim(kitchen, grace)
    skip_comparison(slot.pk, grace, lease_token=slot.lease_token, reason="language")

    assert claim_slot(kitchen, grace) is None


@pytest.mark.parametrize("person", ["stranger", "suspended", "superuser"])
def test_only_active_members_claim(kitchen, grace, eve, person):
    add_pair(kitchen)
    Membership.objects.filter(user=grace).update(is_active=False)
    root = User.objects.create_superuser("root")
    labeler = {"stranger": eve, "suspended": grace, "superuser": root}[person]

    with pytest.raises(NotAMember):
        claim_slot(kitchen, labeler)

    assert Slot.objects.get().state == "free"


def test_a_lease_is_renewed_only_under_its_token(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    expire(slot)

    assert not renew_lease(slot, grace, uuid.uuid4())
    assert not renew_lease(slot, hedy, slot.lease_token)
    assert Slot.objects.get().lease_until < timezone.now()
    assert renew_lease(slot, grace, slot.lease_token)
    assert Slot.objects.get().lease_until > timezone.now()


def test_a_released_slot_is_free_at_once(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    assert not release_slot(slot, hedy)
    assert release_slot(slot, grace)
    assert claim(kitchen, hedy).pk == slot.pk


def test_only_expired_slots_are_freed(kitchen, grace, hedy):
    add_pairs(kitchen, 2)
    lost, kept = claim(kitchen, grace), claim(kitchen, hedy)
    expire(lost)

    assert free_expired(kitchen) == 1

    assert (find_claim(kitchen, grace), find_claim(kitchen, hedy)) == (None, kept)


def test_a_web_clock_an_hour_slow_frees_nothing_and_lends_full_leases(kitchen, grace, hedy, monkeypatch):
    add_pairs(kitchen, 2)
    real_now = timezone.now
    kept = claim(kitchen, grace)
    monkeypatch.setattr(timezone, "now", lambda: real_now() - timedelta(hours=1))

    lent = claim(kitchen, hedy)

    assert find_claim(kitchen, grace) == kept
    assert lent.lease_until > real_now() + timedelta(seconds=kitchen.lease_s - 10)


def test_an_empty_queue_says_why(kitchen, ada, grace, hedy):
    assert explain_empty(kitchen, grace) == EmptyReason.NO_COMPARISONS
    add_pair(kitchen, overlap=2)
    judge(claim(kitchen, grace), grace)
    assert explain_empty(kitchen, grace) == EmptyReason.ALL_MINE_DONE
    slot = claim(kitchen, hedy)
    assert explain_empty(kitchen, ada) == EmptyReason.ALL_HELD
    assert explain_empty(kitchen, grace) == EmptyReason.ALL_MINE_DONE
    judge(slot, hedy)
    assert explain_empty(kitchen, ada) == EmptyReason.ALL_DONE


@pytest.mark.django_db(transaction=True)
def test_eight_labelers_on_one_comparison_make_exactly_its_overlap(kitchen):
    add_pair(kitchen, overlap=3)
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(8)]

    def claim_and_judge(labeler):
        slot = claim_slot(kitchen, labeler)
        return slot and judge(slot, labeler)

    results = run_together(*[lambda labeler=labeler: claim_and_judge(labeler) for labeler in labelers])

    assert [result for result in results if isinstance(result, Exception)] == []
    assert len([result for result in results if result]) == 3
    assert list(Slot.objects.order_by("number").values_list("number", "state", "judgment__is_extra")) == [
        (0, "done", False),
        (1, "done", False),
        (2, "done", False),
    ]


@pytest.mark.django_db(transaction=True)
def test_eight_tabs_of_one_labeler_never_hold_a_comparison_twice(kitchen, grace):
    add_pairs(kitchen, 4, overlap=3)

    results = run_together(*[lambda: claim_slot(kitchen, grace)] * 8)

    assert [result for result in results if isinstance(result, Exception)] == []
    held = Slot.objects.filter(labeler=grace).values("comparison").annotate(n=Count("id"))
    assert {row["n"] for row in held} == {1}
