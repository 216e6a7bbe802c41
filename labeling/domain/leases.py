"""A slot held for its labeler: the proof that it was given to her, how long it is kept, and how it is given back."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, QuerySet
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _

from labeling.domain.errors import ClaimLost
from labeling.models import Project, Slot, User
from labeling.running import Later
from labeling.statements import Change, compiled, compiled_change

RESERVATION_S = 150  # a page renews what it keeps ready by its heartbeat; a page that is gone holds up nobody longer


def make_lease_token(slot_id: int, labeler: User) -> uuid.UUID:
    """Return the token that proves this labeler was given this slot, however long ago."""
    digest = salted_hmac("labeling.lease", f"{slot_id}:{labeler.pk}", algorithm="sha256").digest()
    return uuid.UUID(bytes=digest[:16])


def check_lease_token(slot_id: int, labeler: User, token: uuid.UUID) -> None:
    """Raise ClaimLost unless the labeler was once given this slot: nobody chooses what to judge."""
    if not constant_time_compare(str(make_lease_token(slot_id, labeler)), str(token)):
        raise ClaimLost(_("This comparison was not given to you: take the next one."))


def hold_slot(slot: Slot, labeler: User, *, is_shown: bool = True) -> bool:
    """Move a free slot to the labeler, or store a probe's; False means someone, or another tab of hers, was first."""
    return start_hold(slot, labeler, is_shown=is_shown).n_met == 1


def start_hold(slot: Slot, labeler: User, *, is_shown: bool = True) -> Later:
    """Hold a slot as hold_slot does, but wait for no answer: a free one moves with the transaction's next statement.

    Time is the database's: that of the selection, where the slot was just selected.
    """
    now = slot.shown_at or read_clock(slot.project_id)
    slot.state, slot.labeler = Slot.State.HELD, labeler
    slot.lease_until = now + (lease_of(slot.project) if is_shown else reservation_of(slot.project))
    slot.shown_at = now if is_shown else None
    slot.lease_token = make_lease_token(slot.pk, labeler)
    if slot._state.adding:
        return Later(connection, heard=int(store_probe(slot, is_shown=is_shown)))
    lease = (slot.lease_token, slot.lease_until, slot.shown_at)
    return hold_free.later(
        slot.pk, slot.project_id, labeler.pk, *lease, slot.reason, slot.propensity, is_shown=is_shown
    )


def read_clock(project_id: int) -> datetime:
    clock: datetime = Project.objects.filter(pk=project_id).values_list(Now(), flat=True).get()
    return clock


@compiled_change
def hold_free(
    slot: Any,
    project: Any,
    labeler: Any,
    lease_token: Any,
    lease_until: Any,
    shown_at: Any,
    reason: Any,
    propensity: Any,
    *,
    is_shown: bool,
) -> Change:
    others = list_others(project, labeler, is_shown=is_shown)
    lease = {"lease_token": lease_token, "lease_until": lease_until, "shown_at": shown_at}
    held = lease | {"state": Slot.State.HELD, "labeler": labeler, "reason": reason, "propensity": propensity}
    return Change(Slot.objects.free().filter(~Exists(others), pk=slot), held)


def list_others(project: Any, labeler: Any, *, is_shown: bool) -> QuerySet[Slot]:
    """What she holds already that stands where another one would."""
    return Slot.objects.held_by(labeler).filter(project=project, shown_at__isnull=not is_shown)


@transaction.atomic
def store_probe(slot: Slot, *, is_shown: bool) -> bool:
    if list_others(slot.project, slot.labeler, is_shown=is_shown).exists():
        return False
    slot.save(force_insert=True)
    return True


def lease_of(project: Project) -> timedelta:
    return timedelta(seconds=project.lease_s)


def reservation_of(project: Project) -> timedelta:
    return timedelta(seconds=min(project.lease_s, RESERVATION_S))


def renew_lease(slot: Slot, labeler: User, token: uuid.UUID | None) -> bool:
    """Lengthen a lease, and that of the slot kept ready beside it; False when it is no longer held under the token."""
    hers = Slot.objects.held_by(labeler)
    if not hers.filter(pk=slot.pk, lease_token=token).update(lease_until=Now() + lease_of(slot.project)):
        return False
    reserved = hers.reserved().filter(project=slot.project_id).exclude(pk=slot.pk)
    reserved.update(lease_until=Now() + reservation_of(slot.project))
    return True


def release_slot(slot: Slot, labeler: User) -> bool:
    """Give a held slot back; False when she did not hold it any more."""
    return Slot.objects.held_by(labeler).filter(pk=slot.pk).free_up() == 1


def free_expired(project: Project, *, besides: User | None = None) -> int:
    """Free the slots whose lease has run out and return how many there were; probes wait for their labeler.

    besides: whoever is here to renew her own.
    """
    if not list_expired(project.pk):
        return 0
    return Slot.objects.filter(project=project).expired().exclude(labeler=besides).free_up()


@compiled
def list_expired(project: Any) -> QuerySet[Slot]:
    return Slot.objects.filter(project=project).expired()[:1]
