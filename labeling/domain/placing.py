"""Where a vote goes: the slot it was given for, another free one of the comparison, or none."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from labeling.domain.assignment import check_lease_token
from labeling.domain.errors import ClaimLost, IdempotencyConflict
from labeling.domain.leases import make_lease_token
from labeling.models import PROBES, Comparison, Guideline, Judgment, Project, Slot, User
from labeling.querysets import closed_by
from labeling.statements import Change, compiled, compiled_change


def load_given(slot_id: int) -> Slot:
    """Return a slot with its texts and, as guideline_id, the guideline that holds now.

    On PostgreSQL its comparison is locked: of two votes at once the second waits, and counts the first in its tally.
    """
    for slot in list_given(slot_id):
        slot.comparison.project = slot.project
        return slot
    raise ClaimLost(_("This comparison is gone: take the next one."))


@compiled
def list_given(slot_id: Any) -> QuerySet[Slot]:
    latest = Guideline.objects.filter(project=OuterRef("project")).order_by("-version").values("pk")[:1]
    slots = Slot.objects.with_texts().annotate(guideline_id=Subquery(latest))
    return slots.select_for_update(of=("comparison",), no_key=True).filter(pk=slot_id)


@compiled_change
def close_held(slot_id: Any, labeler: Any) -> Change:
    """Close a slot she holds."""
    return Change(Slot.objects.held_by(labeler).filter(pk=slot_id), closed_by(labeler))


def load_judged(comparison_id: int) -> Comparison:
    """Return a comparison with its texts and project, locked as load_given locks it.

    So is the project: a freeze that seals its judgments waits for a change of one, and finds it.
    """
    comparisons = Comparison.objects.with_texts().select_related("project")
    if connection.features.has_select_for_update_of:
        comparisons = comparisons.select_for_update(of=("self", "project"), no_key=True)
    return comparisons.get(pk=comparison_id)


def take_place(slot: Slot, labeler: User) -> Slot | None:
    """Close the slot she was given if it is free again, or hers or a free one beside it; None when all are taken."""
    if slot.reason in PROBES:
        if not Slot.objects.free().filter(pk=slot.pk).close(labeler):
            raise ClaimLost(_("The time for this comparison is up: take the next one."))
        return slot
    places = Slot.objects.filter(comparison=slot.comparison_id).exclude(reason__in=PROBES)
    for held in places.held_by(labeler):
        if places.held_by(labeler).filter(pk=held.pk).close(labeler):
            return held
    for place in sorted(places.free(), key=lambda free: (free.pk != slot.pk, free.number)):
        if places.free().filter(pk=place.pk).close(labeler):
            return place
    return None


def read_claim(slot: Slot, labeler: User) -> tuple[str, float]:
    """Return for which reason, and with which propensity, she was given the slot, its lease run out or not.

    A slot that is free keeps the token of its last claim. Where that was someone else's, what is left to tell is why the
    comparison was proposed.
    """
    is_hers = slot.labeler_id == labeler.pk or slot.lease_token == make_lease_token(slot.pk, labeler)
    given = slot if is_hers or slot.reason in PROBES else slot.comparison
    return given.reason, given.propensity


def find_replay(idempotency_key: uuid.UUID, labeler: User, *, slot_id: int) -> Judgment | None:
    """Return the judgment this key made, marked is_replay, if it is this labeler's and of the same comparison."""
    stored = Judgment.objects.filter(idempotency_key=idempotency_key).with_texts().first()
    if stored is None:
        return None
    is_same = stored.labeler_id == labeler.pk and stored.comparison.slots.filter(pk=slot_id).exists()
    if not is_same:
        raise IdempotencyConflict(
            _("This Idempotency-Key was used for another judgment: make a new one for each vote.")
        )
    stored.is_replay = True  # type: ignore[attr-defined]
    return stored


def check_given(slot_id: int, labeler: User, lease_token: uuid.UUID, *, idempotency_key: uuid.UUID) -> None:
    """Raise ClaimLost unless the labeler was once given this slot, or IdempotencyConflict if the key is another vote's."""
    try:
        check_lease_token(slot_id, labeler, lease_token)
    except ClaimLost:
        find_replay(idempotency_key, labeler, slot_id=slot_id)
        raise


def find_guideline_id(project: Project) -> int | None:
    """Return the id of the guideline that holds now."""
    return Guideline.objects.filter(project=project).order_by("-version").values_list("pk", flat=True).first()


def choose_guideline_id(project: Project, read_id: int | None, *, latest_id: int | None) -> int | None:
    """Return the id of the guideline a judgment follows: the one she had before her, 0 for none, or what holds now."""
    if read_id == 0:
        return None
    if read_id in (None, latest_id):
        return latest_id
    return read_id if Guideline.objects.filter(project=project, pk=read_id).exists() else latest_id
