import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from labeling.domain.assignment import (
    EmptyReason,
    claim_slot,
    explain_empty,
    find_claim,
    find_reserved,
    free_expired,
    release_slot,
    renew_lease,
    reserve_slot,
    show_reserved,
)
from labeling.domain.errors import NotAMember
from labeling.domain.leases import RESERVATION_S
from labeling.domain.overlap import shut_slots
from labeling.domain.skipping import skip_comparison
from labeling.models import Comparison, Completion, Judgment, Membership, Project, Prompt, Slot, User
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


def test_a_reserved_slot_is_held_shortly_and_shown_to_nobody(kitchen, grace, hedy):
    add_pairs(kitchen, 2)
    shown = claim(kitchen, grace)

    reserved = reserve_slot(kitchen, grace)

    assert (reserved.state, reserved.labeler, reserved.shown_at) == ("held", grace, None)
    assert reserved.lease_until - shown.lease_until < timedelta(seconds=RESERVATION_S + 10 - kitchen.lease_s)
    assert (find_claim(kitchen, grace), find_reserved(kitchen, grace)) == (shown, reserved)
    assert reserve_slot(kitchen, grace) == reserved
    assert claim_slot(kitchen, grace) == shown
    assert claim_slot(kitchen, hedy) is None


def test_a_lease_shorter_than_a_reservation_bounds_it(kitchen, grace):
    Project.objects.update(lease_s=20)
    kitchen.refresh_from_db()
    add_pair(kitchen)

    assert reserve_slot(kitchen, grace).lease_until < timezone.now() + timedelta(seconds=25)


def test_the_reserved_slot_is_the_next_claim(kitchen, grace):
    add_pairs(kitchen, 3)
    shown = claim(kitchen, grace)
    reserved = reserve_slot(kitchen, grace)
    judge(shown, grace)

    following = claim(kitchen, grace)

    assert (following.pk, find_reserved(kitchen, grace)) == (reserved.pk, None)
    assert following.shown_at - timezone.now() < timedelta(seconds=10)
    assert Slot.objects.get(pk=following.pk).lease_until > timezone.now() + timedelta(seconds=kitchen.lease_s - 10)


def test_a_reserved_slot_is_shown_under_a_full_lease(kitchen, grace):
    add_pairs(kitchen, 2)
    judge_and_reserve(kitchen, grace)
    reserved = find_reserved(kitchen, grace)

    shown = show_reserved(reserved.pk, grace, lease_token=reserved.lease_token)

    assert (shown.pk, find_claim(kitchen, grace), find_reserved(kitchen, grace)) == (reserved.pk, shown, None)
    assert shown.lease_until - shown.shown_at == timedelta(seconds=kitchen.lease_s)
    assert Slot.objects.get(pk=shown.pk).lease_until == shown.lease_until
    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token).shown_at == shown.shown_at


def test_a_reserved_slot_is_not_shown_beside_another(kitchen, grace):
    add_pairs(kitchen, 2)
    claim(kitchen, grace)
    reserved = reserve_slot(kitchen, grace)

    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token) is None
    assert find_reserved(kitchen, grace) == reserved


def test_a_reservation_that_ran_out_is_taken_again_while_it_is_free(kitchen, grace, hedy):
    add_pairs(kitchen, 2)
    judge_and_reserve(kitchen, grace)
    reserved = find_reserved(kitchen, grace)
    expire(reserved)
    free_expired(kitchen)

    assert show_reserved(reserved.pk, hedy, lease_token=reserved.lease_token) is None
    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token).pk == reserved.pk


def test_a_reservation_that_went_to_someone_else_is_lost(kitchen, grace, hedy):
    add_pairs(kitchen, 2)
    judge_and_reserve(kitchen, grace)
    reserved = find_reserved(kitchen, grace)
    expire(reserved)
    assert claim(kitchen, hedy).pk == reserved.pk

    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token) is None
    assert find_claim(kitchen, hedy).pk == reserved.pk


def test_a_reserved_slot_she_judged_meanwhile_is_not_shown(kitchen, grace):
    add_pair(kitchen, overlap=2)
    late = claim(kitchen, grace)
    expire(late)
    free_expired(kitchen)
    Slot.objects.filter(pk=late.pk).update(state="shut")
    reserved = reserve_slot(kitchen, grace)
    Slot.objects.filter(pk=reserved.pk).update(state="free", labeler=None)
    Judgment.objects.create(
        comparison=late.comparison, labeler=grace, is_extra=True, verdict="A", strength=-1, scale="seven",
        a_shown_left=True, shown_at=timezone.now(),
    )  # fmt: skip

    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token) is None
    Slot.objects.filter(pk=reserved.pk).update(state="held", labeler=grace, shown_at=None)
    assert show_reserved(reserved.pk, grace, lease_token=reserved.lease_token) is None
    assert Slot.objects.get(pk=reserved.pk).state == "free"


def test_a_reserved_slot_of_a_retired_comparison_is_given_back(kitchen, grace):
    comparison = add_pair(kitchen)
    reserved = reserve_slot(kitchen, grace)
    Comparison.objects.filter(pk=comparison.pk).update(state="retired")

    assert claim_slot(kitchen, grace) is None
    assert Slot.objects.get(pk=reserved.pk).state == "shut"


def test_the_heartbeat_renews_the_reservation_too(kitchen, grace):
    add_pairs(kitchen, 2)
    shown, reserved = claim(kitchen, grace), reserve_slot(kitchen, grace)
    expire(shown)
    expire(reserved)

    assert renew_lease(shown, grace, shown.lease_token)

    assert free_expired(kitchen) == 0
    assert find_reserved(kitchen, grace).lease_until < timezone.now() + timedelta(seconds=RESERVATION_S + 10)


def test_a_freed_slot_says_why_it_was_given_until_it_is_given_again(kitchen, grace, hedy):
    add_pair(kitchen, priority=1, reason="active", propensity=0.5)
    slot = claim(kitchen, grace)
    assert (slot.reason, round(slot.propensity, 3)) == ("priority", 0.446)

    release_slot(slot, grace)

    freed = Slot.objects.get()
    assert (freed.state, freed.reason, round(freed.propensity, 3), freed.shown_at) == ("free", "priority", 0.446, None)
    kitchen.random_share = 1
    kitchen.save()
    again = claim(kitchen, hedy)
    assert (again.reason, again.propensity) == ("active", 0.5)


def test_a_project_that_is_archived_hands_out_nothing(kitchen, grace):
    add_pair(kitchen)
    Project.objects.update(is_archived=True)
    kitchen.refresh_from_db()

    assert (claim_slot(kitchen, grace), reserve_slot(kitchen, grace)) == (None, None)
    assert explain_empty(kitchen, grace) == EmptyReason.ARCHIVED


def test_what_is_held_out_or_not_open_is_not_handed_out(kitchen, grace):
    held_out, retired = add_pairs(kitchen, 2)
    Prompt.objects.filter(pk=held_out.prompt_id).update(is_held_out=True)
    Comparison.objects.filter(pk=retired.pk).update(state="retired")

    assert claim_slot(kitchen, grace) is None


@pytest.mark.parametrize(("cap", "reason"), [("daily_cap", "daily_cap"), ("labeler_cap", "labeler_cap")])
def test_a_cap_counts_what_she_judged_and_what_she_holds(kitchen, grace, hedy, cap, reason):
    Project.objects.update(**{cap: 2})
    kitchen.refresh_from_db()
    add_pairs(kitchen, 4)
    judge(claim(kitchen, grace), grace)
    slot = claim(kitchen, grace)
    assert reserve_slot(kitchen, grace) is None
    judge(slot, grace)

    assert claim_slot(kitchen, grace) is None
    assert explain_empty(kitchen, grace) == reason
    assert claim_slot(kitchen, hedy)


def test_yesterday_is_not_under_todays_cap(kitchen, grace, monkeypatch):
    Project.objects.update(daily_cap=1)
    kitchen.refresh_from_db()
    add_pairs(kitchen, 2)
    judge(claim(kitchen, grace), grace)
    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)

    assert claim_slot(kitchen, grace)


def test_what_waits_for_a_reviewer_is_said(kitchen, grace):
    comparison = add_pair(kitchen)
    Comparison.objects.filter(pk=comparison.pk).update(state="triage")
    shut_slots([comparison.pk])

    assert explain_empty(kitchen, grace) == EmptyReason.IN_TRIAGE


def test_every_reason_has_a_sentence_and_a_time_to_ask_again():
    assert [reason for reason in EmptyReason if not str(reason.sentence) or not 20 <= reason.poll_s <= 600] == []


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
def test_sixteen_labelers_are_all_given_something_of_a_queue_that_suffices(kitchen):
    add_pairs(kitchen, 8, overlap=2)
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(16)]

    slots = run_together(*[lambda labeler=labeler: claim_slot(kitchen, labeler) for labeler in labelers])

    assert [slot for slot in slots if not isinstance(slot, Slot)] == []
    assert len({slot.pk for slot in slots}) == 16


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
def test_eight_tabs_of_one_labeler_hold_one_slot_and_reserve_another(kitchen, grace):
    add_pairs(kitchen, 4, overlap=3)

    results = run_together(*[lambda: claim_slot(kitchen, grace)] * 4, *[lambda: reserve_slot(kitchen, grace)] * 4)

    assert [result for result in results if isinstance(result, Exception)] == []
    held = Slot.objects.filter(labeler=grace)
    assert held.filter(shown_at__isnull=False).count() == 1
    assert held.filter(shown_at__isnull=True).count() <= 1
    assert held.values("comparison").distinct().count() == held.count()


def see_flushing(act):
    """Return whether each change an act makes waits for the disk, and what the act returned."""
    seen = []

    def look(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            with context["connection"].connection.cursor() as cursor:
                seen.append(cursor.execute("SHOW synchronous_commit").fetchone()[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        made = act()
    return set(seen), made


@pytest.mark.django_db(transaction=True)
def test_a_claim_does_not_wait_for_the_disk_and_whatever_stands_beside_it_does(kitchen, grace):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite waits for the disk once for a vote and its next claim")
    add_pairs(kitchen, 2)

    claims, slot = see_flushing(lambda: claim_slot(kitchen, grace))
    votes, _ = see_flushing(lambda: judge(slot, grace))
    with transaction.atomic():
        beside, _ = see_flushing(lambda: claim_slot(kitchen, grace))

    assert (claims, votes, beside) == ({"off"}, {"on"}, {"on"})


def judge_and_reserve(project, labeler):
    """Leave her with a reserved slot and none shown, as between a vote and the next pair."""
    shown = claim(project, labeler)
    reserve_slot(project, labeler)
    judge(shown, labeler)
