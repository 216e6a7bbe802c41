import uuid

import pytest

from labeling.domain.assignment import claim_slot, find_claim
from labeling.domain.errors import AlreadyJudged, ClaimLost, NotAMember
from labeling.domain.skipping import skip_comparison, undo_skip
from labeling.models import Membership, Skip, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def skip(slot, labeler, reason="cannot_judge"):
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason=reason)


def test_a_skipped_comparison_goes_to_someone_else(kitchen, grace, hedy):
    add_pair(kitchen, overlap=2)

    skip(claim(kitchen, grace), grace, "bad_prompt")

    assert Skip.objects.values_list("labeler", "reason").get() == (grace.pk, "bad_prompt")
    assert claim_slot(kitchen, grace) is None
    assert claim(kitchen, hedy).number == 0


def test_skipping_twice_is_one_skip(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    assert skip(slot, grace, "language") == skip(slot, grace, "unsafe")


def test_a_reason_is_one_of_five(kitchen, grace):
    add_pair(kitchen)

    with pytest.raises(ValueError, match="boredom"):
        skip(claim(kitchen, grace), grace, "boredom")

    assert (Skip.objects.count(), Slot.objects.get().state) == (0, "held")


def test_nobody_skips_what_was_not_given_to_her(kitchen, grace, hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    with pytest.raises(ClaimLost):
        skip(slot, hedy)
    with pytest.raises(ClaimLost):
        skip(Slot(pk=4711, lease_token=uuid.uuid4()), hedy)

    assert find_claim(kitchen, grace) == slot


def test_what_is_judged_cannot_be_skipped(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    judge(slot, grace)

    with pytest.raises(AlreadyJudged):
        skip(slot, grace)


def test_a_suspended_member_cannot_skip(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    Membership.objects.update(is_active=False)

    with pytest.raises(NotAMember):
        skip(slot, grace)


def test_undo_gives_the_skipped_comparison_back_in_exchange_for_the_next(kitchen, grace):
    add_pairs(kitchen, 2)
    first = claim(kitchen, grace)
    skip(first, grace)
    claim(kitchen, grace)

    again = undo_skip(kitchen, grace)

    assert again.comparison == first.comparison
    assert [slot.comparison for slot in Slot.objects.filter(state="held")] == [first.comparison]
    assert Skip.objects.count() == 0


def test_undo_of_a_skip_whose_comparison_is_taken_forgets_the_skip(kitchen, grace, hedy):
    add_pair(kitchen)
    skip(claim(kitchen, grace), grace)
    claim(kitchen, hedy)

    assert undo_skip(kitchen, grace) is None

    assert Skip.objects.count() == 0


def test_without_a_skip_there_is_nothing_to_undo(kitchen, grace):
    with pytest.raises(ClaimLost):
        undo_skip(kitchen, grace)
