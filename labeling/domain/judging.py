"""What labelers say is stored once, for ever, and never dropped; a change of mind is one more row."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.domain.assignment import check_lease_token, require_member
from labeling.domain.content import check_text
from labeling.domain.errors import AlreadyJudged, AlreadyRevised, ClaimLost, IdempotencyConflict, InvalidJudgment
from labeling.models import Guideline, Judgment, Project, Slot, User, Verdict

QUICK_STRENGTH = 2  # one key says "better", no more and no less
MAX_ACTIVE_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a labeler said, in the words of the page: left and right as they were shown to her."""

    preference: int  # -3 left is much better .. 0 about the same .. +3 right is much better
    scale: str = Project.Scale.QUICK
    both_bad: bool = False
    unsafe_left: bool = False
    unsafe_right: bool = False
    note: str = ""
    active_ms: int = 0


def record_judgment(
    slot_id: int,
    labeler: User,
    *,
    idempotency_key: uuid.UUID,
    lease_token: uuid.UUID,
    vote: Vote,
    shown_at: datetime | None = None,
) -> Judgment:
    """Store a vote on the slot the labeler was given, and close the slot.

    The same key again is the stored row. A vote that comes after its lease takes the slot, or another of the
    comparison, while one is free; otherwise it is kept as an extra. shown_at is what the page says of a lost claim;
    of a held one the slot knows better.
    """
    if stored := find_replay(idempotency_key, labeler, slot_id=slot_id):
        return stored
    slot = Slot.objects.with_texts().filter(pk=slot_id).first()
    if slot is None:
        raise ClaimLost("This comparison is gone: take the next one.")
    require_member(slot.project, labeler)
    check_lease_token(slot_id, labeler, lease_token)
    said = read_vote(vote, a_shown_left=slot.a_shown_left)
    try:
        with transaction.atomic():
            place, shown = take_place(slot, labeler, shown_at=shown_at)
            return Judgment.objects.create(
                idempotency_key=idempotency_key,
                comparison=slot.comparison,
                labeler=labeler,
                slot=place,
                is_extra=place is None,
                a_shown_left=slot.a_shown_left,
                guideline=current_guideline(slot.project),
                reason=slot.reason,
                propensity=slot.propensity,
                shown_at=shown,
                **said,
            )
    except IntegrityError:
        return answer_lost_race(idempotency_key, labeler, slot=slot)


def revise_judgment(
    judgment: Judgment,
    labeler: User,
    *,
    idempotency_key: uuid.UUID,
    vote: Vote,
    shown_at: datetime | None = None,
) -> Judgment:
    """Store the labeler's new word on what she judged before; the old row stays. A replay is the stored row."""
    stored = Judgment.objects.filter(idempotency_key=idempotency_key, revises=judgment, labeler=labeler).first()
    if stored:
        return stored
    project = judgment.comparison.project
    require_member(project, labeler)
    if judgment.labeler_id != labeler.pk:
        raise ClaimLost("This judgment is someone else's: only its labeler can change it.")
    now = timezone.now()
    said = read_vote(vote, a_shown_left=judgment.a_shown_left)
    try:
        with transaction.atomic():
            return Judgment.objects.create(
                idempotency_key=idempotency_key,
                comparison=judgment.comparison,
                labeler=labeler,
                revises=judgment,
                is_extra=judgment.is_extra,
                a_shown_left=judgment.a_shown_left,
                guideline=current_guideline(project),
                reason=judgment.reason,
                propensity=judgment.propensity,
                shown_at=min(shown_at or now, now),
                **said,
            )
    except IntegrityError as error:
        require_member(project, labeler)
        raise AlreadyRevised("This vote was changed already: undo the newer one.") from error


def find_replay(idempotency_key: uuid.UUID, labeler: User, *, slot_id: int) -> Judgment | None:
    """Return the judgment this key made, if it is this labeler's and of the same comparison."""
    stored = Judgment.objects.filter(idempotency_key=idempotency_key).select_related("comparison").first()
    if stored is None:
        return None
    is_same = stored.labeler_id == labeler.pk and stored.comparison.slots.filter(pk=slot_id).exists()
    if not is_same:
        raise IdempotencyConflict("This Idempotency-Key was used for another judgment: make a new one for each vote.")
    return stored


def answer_lost_race(idempotency_key: uuid.UUID, labeler: User, *, slot: Slot) -> Judgment:
    """Say why the database refused: a replay was first, the labeler had judged it, or she is no member any more."""
    if stored := find_replay(idempotency_key, labeler, slot_id=slot.pk):
        return stored
    require_member(slot.project, labeler)
    raise AlreadyJudged("You have judged this comparison already; use undo to change your vote.")


def take_place(slot: Slot, labeler: User, *, shown_at: datetime | None) -> tuple[Slot | None, datetime]:
    """Close her own slot, or a free one of the comparison, or none; and return when she was shown it."""
    now = timezone.now()
    places = Slot.objects.filter(comparison=slot.comparison_id)
    held = places.held_by(labeler).first()
    if held is not None and places.held_by(labeler).filter(pk=held.pk).close(labeler):
        return held, held.shown_at or now
    shown = min(shown_at or now, now)
    for place in sorted(places.free(), key=lambda free: (free.pk != slot.pk, free.number)):
        if places.free().filter(pk=place.pk).close(labeler):
            return place, shown
    return None, shown


def current_guideline(project: Project) -> Guideline | None:
    """Return the version of the guideline that judgments made now follow."""
    return Guideline.objects.filter(project=project).order_by("-version").first()


def read_vote(vote: Vote, *, a_shown_left: bool) -> dict[str, Any]:
    """Turn what was said of left and right into what it says of the contents A and B."""
    if not -3 <= vote.preference <= 3:
        raise InvalidJudgment(f"the preference must be from -3 to 3, got {vote.preference}")
    if vote.scale not in Project.Scale.values:
        raise InvalidJudgment(f"the scale must be one of {Project.Scale.values}, got {vote.scale!r}")
    if not 0 <= vote.active_ms <= MAX_ACTIVE_MS:
        raise InvalidJudgment(f"active_ms must be from 0 to {MAX_ACTIVE_MS}, got {vote.active_ms}")
    strength = vote.preference if a_shown_left else -vote.preference
    return {
        "verdict": Verdict.TIE if strength == 0 else Verdict.A if strength < 0 else Verdict.B,
        "strength": strength,
        "scale": vote.scale,
        "both_bad": vote.both_bad,
        "unsafe_a": vote.unsafe_left if a_shown_left else vote.unsafe_right,
        "unsafe_b": vote.unsafe_right if a_shown_left else vote.unsafe_left,
        "note": check_text(vote.note, what="the note"),
        "active_ms": vote.active_ms,
    }


def show_vote(judgment: Judgment) -> Vote:
    """Return a judgment in the words of the page it was made on."""
    straight = judgment.a_shown_left
    return Vote(
        preference=judgment.strength if straight else -judgment.strength,
        scale=judgment.scale,
        both_bad=judgment.both_bad,
        unsafe_left=judgment.unsafe_a if straight else judgment.unsafe_b,
        unsafe_right=judgment.unsafe_b if straight else judgment.unsafe_a,
        note=judgment.note,
        active_ms=judgment.active_ms,
    )
