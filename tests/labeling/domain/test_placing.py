import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.assignment import free_expired, make_lease_token
from labeling.domain.errors import (
    ClaimLost,
)
from labeling.domain.judging import Vote, record_judgment
from labeling.models import Comparison, Judgment, Slot
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, claim, expire, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_nobody_judges_what_was_not_given_to_her(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    with pytest.raises(ClaimLost):
        judge(slot, hedy)

    assert Judgment.objects.count() == 0


def test_a_slot_that_never_was_is_a_lost_claim(kitchen, grace):
    with pytest.raises(ClaimLost):
        judge(Slot(pk=987654, lease_token=uuid.uuid4()), grace)


def test_a_late_vote_counts_while_its_slot_is_free(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    Slot.objects.all().free_up()

    judgment = judge(slot, grace)

    assert (judgment.slot_id, judgment.is_extra, Slot.objects.get().state) == (slot.pk, False, "done")


def test_a_late_vote_takes_another_free_slot_and_keeps_the_side_it_was_shown(kitchen, grace, hedy):
    add_pair(kitchen, overlap=2)
    slot = claim(kitchen, grace)
    expire(slot)
    free_expired(kitchen)
    assert claim(kitchen, hedy).pk == slot.pk

    judgment = judge(slot, grace, -2)

    assert (judgment.slot.number, judgment.is_extra, judgment.a_shown_left) == (1, False, slot.a_shown_left)
    assert judgment.lease_token == make_lease_token(slot.pk, grace)
    assert judgment.slot.a_shown_left != slot.a_shown_left


def test_a_late_vote_without_a_place_is_kept_as_an_extra(kitchen, grace, hedy):
    add_pair(kitchen)
    lost = claim(kitchen, grace)
    expire(lost)
    free_expired(kitchen)
    slot = claim(kitchen, hedy)

    late = judge(lost, grace)
    counted = judge(slot, hedy)

    assert (late.slot, late.is_extra) == (None, True)
    assert (counted.slot, counted.is_extra) == (slot, False)


def test_a_late_vote_is_stored_with_the_reason_and_propensity_of_its_claim(kitchen, grace):
    add_pair(kitchen, priority=1, reason="active", propensity=0.5)
    slot = claim(kitchen, grace)
    expire(slot)
    free_expired(kitchen)

    judgment = judge(slot, grace)

    assert (judgment.reason, round(judgment.propensity, 3)) == ("priority", 0.446)


def test_a_late_vote_on_what_another_holds_says_why_it_was_proposed_and_not_why_the_other_got_it(kitchen, grace, hedy):
    add_pair(kitchen, priority=1, reason="active", propensity=0.5)
    lost = claim(kitchen, grace)
    expire(lost)
    free_expired(kitchen)
    slot = claim(kitchen, hedy)
    assert slot.reason == "priority"

    late = judge(lost, grace)

    assert (late.reason, late.propensity, late.is_extra) == ("active", 0.5, True)


def test_a_late_vote_never_takes_the_reason_of_a_later_claim_that_ran_out_too(kitchen, grace, hedy):
    add_pair(kitchen, priority=1, reason="active", propensity=0.5)
    lost = claim(kitchen, grace)
    Slot.objects.all().free_up()
    assert claim(kitchen, hedy).reason == "priority"
    Slot.objects.all().free_up()

    late = judge(lost, grace)

    assert (late.reason, late.propensity, late.is_extra) == ("active", 0.5, False)


def test_a_late_votes_clock_is_the_page_but_never_the_future(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    Slot.objects.all().free_up()

    judgment = record_judgment(
        slot.pk,
        grace,
        idempotency_key=uuid.uuid4(),
        lease_token=make_lease_token(slot.pk, grace),
        vote=Vote(preference=0),
        shown_at=timezone.now() + timedelta(days=1),
    )

    assert judgment.shown_at <= timezone.now()


def test_a_late_vote_never_takes_the_slot_of_a_probe(kitchen, grace, hedy):
    comparison = add_pair(kitchen)
    lost = claim(kitchen, grace)
    expire(lost)
    free_expired(kitchen)
    judge(claim(kitchen, hedy), hedy)
    Slot.objects.create(
        project=kitchen, comparison=comparison, number=Slot.PROBE_NUMBER, a_shown_left=True, reason="repeat"
    )

    late = judge(lost, grace)

    assert (late.slot, late.is_extra) == (None, True)


def test_a_probe_whose_time_is_up_is_refused_and_takes_no_ordinary_slot(kitchen, grace, hedy):
    comparison = add_pair(kitchen)
    probe = Slot.objects.create(
        project=kitchen, comparison=comparison, number=Slot.PROBE_NUMBER, a_shown_left=True, reason="gold"
    )
    Slot.objects.filter(pk=probe.pk).update(
        state="held", labeler=hedy, lease_token=uuid.uuid4(), lease_until=timezone.now()
    )

    with pytest.raises(ClaimLost):
        judge(probe, grace, lease_token=make_lease_token(probe.pk, grace))

    assert Judgment.objects.count() == 0
    assert sorted(Slot.objects.values_list("state", flat=True)) == ["free", "held"]


@pytest.mark.django_db(transaction=True)
def test_sixteen_late_votes_at_once_fill_the_overlap_exactly_and_the_rest_are_extras(kitchen):
    comparison = add_pair(kitchen, overlap=3)
    slot = Slot.objects.filter(comparison=comparison, number=0).get()
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(16)]

    results = run_together(
        *[
            lambda labeler=labeler: judge(slot, labeler, lease_token=make_lease_token(slot.pk, labeler)).is_extra
            for labeler in labelers
        ]
    )

    assert sorted(results) == [False] * 3 + [True] * 13
    assert list(Slot.objects.values_list("state", flat=True)) == ["done"] * 3
    assert Comparison.objects.get().n_judgments == 16
