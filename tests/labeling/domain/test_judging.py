import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.errors import (
    AlreadyJudged,
    IdempotencyConflict,
    InvalidContent,
    InvalidJudgment,
    NotAMember,
)
from labeling.domain.judging import Vote, record_judgment, show_vote
from labeling.domain.leases import make_lease_token
from labeling.domain.projects import publish_guideline
from labeling.domain.revising import revise_judgment
from labeling.models import Judgment, Membership, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def claim_shown(project, labeler, *, a_left):
    """Claim the only slot, with A on the side the test needs."""
    Slot.objects.update(a_shown_left=a_left)
    return claim(project, labeler)


@pytest.mark.parametrize(
    ("a_left", "preference", "verdict", "strength"),
    [
        (True, -3, "A", -3),
        (False, -3, "B", 3),
        (True, 1, "B", 1),
        (False, 1, "A", -1),
        (True, 0, "tie", 0),
        (False, 0, "tie", 0),
    ],
)
def test_a_verdict_is_about_content_not_about_side(kitchen, grace, a_left, preference, verdict, strength):
    add_pair(kitchen)
    slot = claim_shown(kitchen, grace, a_left=a_left)

    judgment = judge(slot, grace, preference)

    assert (judgment.verdict, judgment.strength, judgment.a_shown_left) == (verdict, strength, a_left)


def test_a_judgment_records_all_that_was_said_and_how_it_came_about(kitchen, grace):
    guideline = publish_guideline(kitchen, "Choose the better one.")
    comparison = add_pair(kitchen, reason="active", propensity=0.5)
    slot = claim_shown(kitchen, grace, a_left=False)
    key = uuid.uuid4()

    judge(
        slot,
        grace,
        2,
        idempotency_key=key,
        scale="seven",
        both_bad=True,
        unsafe_left=True,
        note=" so so\n",
        active_ms=4321,
    )

    stored = Judgment.objects.values().get()
    del stored["id"]
    assert timezone.now() - stored.pop("submitted_at") < timedelta(seconds=10)
    assert stored == {
        "idempotency_key": key,
        "comparison_id": comparison.pk,
        "labeler_id": grace.pk,
        "slot_id": slot.pk,
        "is_extra": False,
        "revises_id": None,
        "verdict": "A",
        "strength": -2,
        "scale": "seven",
        "both_bad": True,
        "unsafe_a": False,
        "unsafe_b": True,
        "note": " so so\n",
        "a_shown_left": False,
        "lease_token": make_lease_token(slot.pk, grace),
        "guideline_id": guideline.pk,
        "reason": "active",
        "propensity": 0.5,
        "is_conditional": False,
        "shown_at": slot.shown_at,
        "active_ms": 4321,
        "axes": {},
        "reasons": [],
        "is_hasty": True,
        "trace": {},
    }


def test_what_was_said_reads_the_same_on_the_page_again(kitchen, grace):
    add_pair(kitchen)
    slot = claim_shown(kitchen, grace, a_left=False)
    vote = {
        "scale": "seven",
        "both_bad": False,
        "unsafe_left": False,
        "unsafe_right": True,
        "note": "n",
        "active_ms": 7,
    }

    judgment = judge(slot, grace, -1, **vote)

    assert show_vote(judgment) == Vote(preference=-1, **vote)


def test_a_judged_slot_is_closed(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    judge(slot, grace)

    done = Slot.objects.get(pk=slot.pk)
    assert (done.state, done.labeler, done.lease_token, done.lease_until) == ("done", grace, None, None)


def test_a_replay_is_the_stored_judgment(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    key = uuid.uuid4()
    first = judge(slot, grace, -2, idempotency_key=key)

    again = judge(slot, grace, 3, idempotency_key=key)

    assert (again.pk, again.strength) == (first.pk, first.strength)
    assert Judgment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_vote_sent_eight_times_at_once_is_stored_once(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    key = uuid.uuid4()

    results = run_together(*[lambda: judge(slot, grace, idempotency_key=key).pk] * 8)

    assert results == [Judgment.objects.get().pk] * 8


def test_a_second_vote_under_a_new_key_is_told_to_be_a_revision(kitchen, grace):
    add_pair(kitchen, overlap=2)
    slot = claim(kitchen, grace)
    judge(slot, grace)

    with pytest.raises(AlreadyJudged):
        judge(slot, grace)

    assert Judgment.objects.count() == 1
    assert Slot.objects.filter(state="done").count() == 1


def test_a_key_serves_one_vote_of_one_labeler(kitchen, grace, hedy):
    add_pairs(kitchen, 2)
    key = uuid.uuid4()
    judge(claim(kitchen, grace), grace, idempotency_key=key)

    with pytest.raises(IdempotencyConflict):
        judge(claim(kitchen, grace), grace, idempotency_key=key)
    with pytest.raises(IdempotencyConflict):
        judge(Slot.objects.get(state="done"), hedy, idempotency_key=key, lease_token=uuid.uuid4())


def test_a_suspended_member_cannot_submit_what_she_claimed(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    Membership.objects.filter(user=grace).update(is_active=False)

    with pytest.raises(NotAMember):
        judge(slot, grace)

    assert Judgment.objects.count() == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"preference": 4}, InvalidJudgment),
        ({"preference": -4}, InvalidJudgment),
        ({"scale": "stars"}, InvalidJudgment),
        ({"active_ms": -1}, InvalidJudgment),
        ({"note": "\x00"}, InvalidContent),
    ],
)
def test_what_cannot_be_said_is_refused_and_the_claim_kept(kitchen, grace, changes, error):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    with pytest.raises(error):
        judge(slot, grace, **{"preference": 0} | changes)

    assert (Judgment.objects.count(), Slot.objects.get().state) == (0, "held")


@pytest.mark.parametrize(("named", "version"), [("first", 1), ("second", 2), ("other", 2), (None, 2)])
def test_a_judgment_follows_the_guideline_she_had_before_her(kitchen, garden, grace, named, version):
    guidelines = {
        "first": publish_guideline(kitchen, "Short before long."),
        "other": publish_guideline(garden, "Green before red."),
        "second": publish_guideline(kitchen, "Long before short.", is_breaking=True),
    }
    guideline_id = guidelines[named].pk if named else None
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    said = {"vote": Vote(preference=-2), "guideline_id": guideline_id}

    first = record_judgment(slot.pk, grace, idempotency_key=uuid.uuid4(), lease_token=slot.lease_token, **said)
    second = revise_judgment(first, grace, idempotency_key=uuid.uuid4(), **said)

    assert [row.guideline.version for row in (first, second)] == [version, version]
    assert {row.guideline.project for row in (first, second)} == {kitchen}


def test_a_claimed_vote_costs_four_statements_and_a_transaction(kitchen, grace, django_assert_num_queries):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    # A savepoint and its release in place of BEGIN and COMMIT; the slot, its closing, the judgment, the tally.
    with django_assert_num_queries(6):
        judge(slot, grace)
