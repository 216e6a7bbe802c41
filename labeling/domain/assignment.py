"""Who judges what: a labeler claims a slot under a lease, keeps it, or gives it back."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare, salted_hmac

from labeling.domain.errors import ClaimLost, NotAMember
from labeling.models import Comparison, Judgment, Membership, Project, Skip, Slot, User

RETRIES = 20


class EmptyReason(models.TextChoices):
    """Why a labeler is given nothing."""

    NO_COMPARISONS = "no_comparisons", "Nothing to judge yet"
    ALL_DONE = "all_done", "Everything is judged"
    ALL_MINE_DONE = "all_mine_done", "You have judged all you can"
    ALL_HELD = "all_held", "The rest is in other hands"


def require_member(project: Project, labeler: User) -> Membership:
    """Return the labeler's active membership, or raise NotAMember."""
    membership = Membership.objects.filter(project=project, user=labeler, is_active=True).first()
    if membership is None:
        raise NotAMember(f"{labeler} is no active member of {project}: ask its manager to be added")
    return membership


def make_lease_token(slot_id: int, labeler: User) -> uuid.UUID:
    """Return the token that proves this labeler was given this slot, however long ago."""
    digest = salted_hmac("labeling.lease", f"{slot_id}:{labeler.pk}", algorithm="sha256").digest()
    return uuid.UUID(bytes=digest[:16])


def check_lease_token(slot_id: int, labeler: User, token: uuid.UUID) -> None:
    """Raise ClaimLost unless the labeler was once given this slot: nobody chooses what to judge."""
    if not constant_time_compare(str(make_lease_token(slot_id, labeler)), str(token)):
        raise ClaimLost("This comparison was not given to you: take the next one.")


def claim_slot(project: Project, labeler: User) -> Slot | None:
    """Return the slot the labeler holds, its lease renewed, or else claim the next one; None when there is none."""
    require_member(project, labeler)
    if (held := find_claim(project, labeler)) and renew_lease(held, labeler, held.lease_token):
        return held
    free_expired(project)
    for _ in range(RETRIES):
        try:
            with transaction.atomic():
                slot = find_candidate(project, labeler)
                if slot is None:
                    return None
                if hold_slot(slot, labeler):
                    return load_slot(slot.pk)
        except IntegrityError:
            # Another tab of hers took a slot of the same comparison first; the next candidate is another one.
            require_member(project, labeler)
    return None


def find_claim(project: Project, labeler: User) -> Slot | None:
    """Return the slot the labeler holds in this project; changes nothing."""
    return Slot.objects.held_by(labeler).filter(project=project).with_texts().order_by("-shown_at").first()


def find_candidate(project: Project, labeler: User) -> Slot | None:
    """Return the first slot she may claim; on PostgreSQL locked, with those others look at passed over."""
    slots = Slot.objects.filter(project=project).claimable_by(labeler).breadth_first()
    if connection.features.has_select_for_update_skip_locked:
        slots = slots.select_for_update(skip_locked=True, of=("self",))
    return slots.first()


def hold_slot(slot: Slot, labeler: User) -> bool:
    """Move a free slot to the labeler; False means someone was first."""
    updated = (
        Slot.objects.free()
        .filter(pk=slot.pk)
        .update(
            state=Slot.State.HELD,
            labeler=labeler,
            lease_token=make_lease_token(slot.pk, labeler),
            lease_until=Now() + lease_of(slot.project),
            shown_at=Now(),
        )
    )
    return updated == 1


def lease_of(project: Project) -> timedelta:
    return timedelta(seconds=project.lease_s)


def load_slot(slot_id: int) -> Slot:
    return Slot.objects.with_texts().get(pk=slot_id)


def renew_lease(slot: Slot, labeler: User, token: uuid.UUID | None) -> bool:
    """Lengthen a lease; False when the slot is no longer held under it. Time is the database's."""
    held = Slot.objects.held_by(labeler).filter(pk=slot.pk, lease_token=token)
    return held.update(lease_until=Now() + lease_of(slot.project)) == 1


def release_slot(slot: Slot, labeler: User) -> bool:
    """Give a held slot back; False when she did not hold it any more."""
    return Slot.objects.held_by(labeler).filter(pk=slot.pk).free_up() == 1


def free_expired(project: Project) -> int:
    """Free the slots whose lease has run out and return how many there were."""
    return Slot.objects.filter(project=project).expired().free_up()


def explain_empty(project: Project, labeler: User) -> EmptyReason:
    """Return why the labeler is given nothing now; changes nothing."""
    comparisons = Comparison.objects.filter(project=project, overlap__gt=0)
    if not comparisons.exists():
        return EmptyReason.NO_COMPARISONS
    slots = Slot.objects.filter(project=project)
    if not slots.exclude(state=Slot.State.DONE).exists():
        return EmptyReason.ALL_DONE
    held_by_others = slots.filter(state=Slot.State.HELD).exclude(labeler=labeler)
    hers = Judgment.objects.filter(labeler=labeler).values("comparison")
    skipped = Skip.objects.filter(labeler=labeler).values("comparison")
    if held_by_others.exclude(comparison__in=hers).exclude(comparison__in=skipped).exists():
        return EmptyReason.ALL_HELD
    return EmptyReason.ALL_MINE_DONE
