"""A labeler passes a comparison on, and may think better of it."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction

from labeling.domain.assignment import check_lease_token, hold_slot, load_slot, release_slot, require_member
from labeling.domain.errors import AlreadyJudged, ClaimLost
from labeling.models import Judgment, Project, Skip, Slot, User


def skip_comparison(slot_id: int, labeler: User, *, lease_token: uuid.UUID, reason: str) -> Skip:
    """Free the slot and never offer its comparison to this labeler again; the same skip again is the stored row."""
    slot = Slot.objects.with_texts().filter(pk=slot_id).first()
    if slot is None:
        raise ClaimLost("This comparison is gone: take the next one.")
    require_member(slot.project, labeler)
    check_lease_token(slot_id, labeler, lease_token)
    if Judgment.objects.filter(comparison=slot.comparison_id, labeler=labeler).exists():
        raise AlreadyJudged("You have judged this comparison already; use undo to change your vote.")
    with transaction.atomic():
        skip, _ = Skip.objects.get_or_create(
            comparison=slot.comparison, labeler=labeler, defaults={"reason": Skip.Reason(reason)}
        )
        for held in Slot.objects.held_by(labeler).filter(comparison=slot.comparison_id):
            release_slot(held, labeler)
    return skip


def undo_skip(project: Project, labeler: User) -> Slot | None:
    """Forget the labeler's last skip, give back what she holds, and give her the skipped comparison if it is free."""
    require_member(project, labeler)
    skip = find_last_skip(project, labeler)
    if skip is None:
        raise ClaimLost("There is no skip to undo.")
    try:
        with transaction.atomic():
            skip.delete()
            Slot.objects.held_by(labeler).filter(project=project).free_up()
            free = Slot.objects.free().filter(comparison=skip.comparison_id).select_related("project")
            for slot in free.order_by("number"):
                if hold_slot(slot, labeler):
                    return load_slot(slot.pk)
    except IntegrityError:
        require_member(project, labeler)
    return None


def find_last_skip(project: Project, labeler: User) -> Skip | None:
    return Skip.objects.filter(comparison__project=project, labeler=labeler).order_by("-id").first()
