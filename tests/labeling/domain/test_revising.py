import uuid

import pytest

from labeling.domain.errors import AlreadyFrozen, AlreadyRevised, ClaimLost
from labeling.domain.judging import Vote
from labeling.domain.leases import make_lease_token
from labeling.domain.projects import publish_guideline
from labeling.domain.revising import revise_judgment, seal_judgments
from labeling.models import Judgment, Project, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_a_revision_is_a_new_row_and_the_last_word(kitchen, grace):
    add_pair(kitchen)
    Slot.objects.update(a_shown_left=False)
    slot = claim(kitchen, grace)
    first = judge(slot, grace, -2)
    publish_guideline(kitchen, "Think twice.")

    second = revise_judgment(first, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=3, scale="seven"))
    third = revise_judgment(second, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=0))

    rows = Judgment.objects.order_by("id").values_list(
        "strength", "revises", "slot", "a_shown_left", "guideline__version", "lease_token"
    )
    lease = make_lease_token(slot.pk, grace)
    assert list(rows) == [
        (2, None, slot.pk, False, None, lease),
        (-3, first.pk, None, False, 1, lease),
        (0, second.pk, None, False, 1, lease),
    ]
    assert Judgment.objects.current().get() == third


def test_a_revision_replayed_is_the_stored_row(kitchen, grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)
    key = uuid.uuid4()

    rows = {revise_judgment(first, grace, idempotency_key=key, vote=Vote(preference=1)).pk for _ in range(3)}

    assert len(rows) == 1
    assert Judgment.objects.count() == 2


def test_only_the_last_word_can_be_revised(kitchen, grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)
    revise_judgment(first, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=1))

    with pytest.raises(AlreadyRevised):
        revise_judgment(first, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=2))


def test_nobody_revises_someone_elses_word(kitchen, grace, hedy):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)

    with pytest.raises(ClaimLost):
        revise_judgment(first, hedy, idempotency_key=uuid.uuid4(), vote=Vote(preference=1))


def test_a_revision_of_a_frozen_judgment_is_refused(kitchen, grace):
    add_pairs(kitchen, 2)
    frozen, later = [judge(claim(kitchen, grace), grace) for _ in range(2)]
    seal_judgments(kitchen, frozen.pk)

    with pytest.raises(AlreadyFrozen, match="went into a dataset"):
        revise(frozen, grace, 3)

    assert revise(later, grace, 3).revises == later
    assert Judgment.objects.count() == 3


def test_a_seal_is_never_lowered(kitchen, garden):
    for upto in (7, 3, 9, 0):
        seal_judgments(kitchen, upto)

    assert dict(Project.objects.values_list("slug", "frozen_upto")) == {"kitchen": 9, "garden": 0}


def test_a_revision_that_is_frozen_is_the_last_word(kitchen, grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)
    second = revise(first, grace, 1)
    seal_judgments(kitchen, second.pk)

    with pytest.raises(AlreadyFrozen):
        revise(second, grace, 2)
