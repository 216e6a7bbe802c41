"""Who judges what: a labeler claims a slot under a lease, keeps it, reserves the next, or gives it back."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, Func, OuterRef, QuerySet, TextField, Value
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from labeling.domain.errors import NotAMember
from labeling.domain.leases import (
    check_lease_token,
    free_expired,
    hold_slot,
    lease_of,
    make_lease_token,
    release_slot,
    renew_lease,
    reservation_of,
    start_hold,
)
from labeling.domain.selection import select_slot
from labeling.domain.turns import RNG, Turn, may_judge
from labeling.domain.waiting import EmptyReason, explain_empty, is_capped
from labeling.models import Comparison, Judgment, Membership, Project, Reason, Slice, Slot, User
from labeling.running import Later
from labeling.statements import compiled
from labeling.writer import hold_writer

__all__ = [
    "EmptyReason",
    "check_lease_token",
    "claim_slot",
    "explain_empty",
    "find_claim",
    "find_reserved",
    "free_expired",
    "hold_slot",
    "load_slot",
    "make_lease_token",
    "one_turn",
    "release_slot",
    "renew_lease",
    "require_member",
    "reserve_slot",
    "show_reserved",
]

RETRIES = 20
# Of PostgreSQL, until the transaction ends. A statement of its own would cost a third of what it spares.
COMMIT_SOON = Func(
    Value("synchronous_commit"), Value("off"), Value(True), function="set_config", output_field=TextField()
)
PRETENDED = timedelta(hours=1)  # so long a page without a network is believed
SWEEP_SHARE = 0.1  # of claims that first free what has expired; one that finds nothing always does


def require_member(project: Project, labeler: User) -> Membership:
    """Return the labeler's active membership, or raise NotAMember."""
    return check_member(list_memberships(project.pk, labeler.pk), project, labeler)


def check_member(memberships: list[Membership], project: Project, labeler: User) -> Membership:
    for membership in memberships:
        return membership
    message = _("%(labeler)s is no active member of %(project)s: ask its manager to be added")
    raise NotAMember(message % {"labeler": labeler, "project": project})


@compiled
def list_memberships(project: Any, labeler: Any) -> QuerySet[Membership]:
    return Membership.objects.filter(project=project, user=labeler, is_active=True)


def start_turn(project: Project, labeler: User, *, is_flushed: bool = True) -> Turn:
    """Return who asks, her membership locked where the database has row locks; or raise NotAMember.

    is_flushed: whether the transaction's end waits for the disk.
    """
    membership = check_member(lock_memberships(project.pk, labeler.pk, is_flushed=is_flushed), project, labeler)
    has_slices, is_holding = membership.has_slices, membership.is_holding  # type: ignore[attr-defined]
    return Turn(project, labeler, membership, has_slices=has_slices, is_holding=is_holding)


@compiled
def lock_memberships(project: Any, labeler: Any, *, is_flushed: bool = True) -> QuerySet[Membership]:
    memberships = Membership.objects.filter(project=project, user=labeler, is_active=True)
    if not is_flushed:
        memberships = memberships.annotate(flushes=COMMIT_SOON)
    has_slices = Exists(Slice.objects.filter(project=OuterRef("project")))
    is_holding = Exists(Slot.objects.held_by(labeler).filter(project=project))
    return memberships.annotate(has_slices=has_slices, is_holding=is_holding).select_for_update(no_key=True)


def claim_slot(project: Project, labeler: User) -> Slot | None:
    """Return the slot shown to her, its lease renewed, or show her reserved one, or a new one; None for none."""
    return take_turn(project, labeler, is_shown=True)


def reserve_slot(project: Project, labeler: User) -> Slot | None:
    """Return the slot kept ready for her but not shown, its short lease renewed, or keep a new one ready."""
    return take_turn(project, labeler, is_shown=False)


def take_turn(project: Project, labeler: User, *, is_shown: bool) -> Slot | None:
    """Return what she holds already, or else hold what is selected for her.

    Her tabs take turns: PostgreSQL locks her membership, and the slot selected. SQLite's one lock is every writer's,
    so there nothing is locked while the slot is looked for, the update that holds it finds out whether anything
    changed meanwhile, and only then it is looked for again under the lock: else all would lose to one, over and over.

    PostgreSQL does not wait for the disk: the next vote of anybody flushes the claim, and where the server dies before,
    it is one more vote that comes after its lease.
    """
    is_flushed = connection.in_atomic_block or not connection.features.has_select_for_update
    if RNG.random() < SWEEP_SHARE:
        free_expired(project, besides=labeler)
    for attempt in range(RETRIES):
        is_locked = attempt > 0 or connection.features.has_select_for_update
        try:
            with hold_writer() if is_locked else nullcontext():
                turn = start_turn(project, labeler, is_flushed=is_flushed)
                held = find_held(project, labeler) if turn.is_holding else []
                if slot := keep_held(held, turn, is_shown=is_shown):
                    return slot
                slot = None if is_capped(turn, n_held=len(held)) else select_slot(turn)
                holding = hold_in_line(slot, labeler, is_shown=is_shown) if slot else None
            if holding and holding.n_met:
                return slot
        except IntegrityError:
            # Another tab of hers took a slot of the same comparison first; the next candidate is another one.
            continue
        if slot is None and not free_expired(project, besides=labeler):
            return None
    return None


def hold_in_line(slot: Slot, labeler: User, *, is_shown: bool) -> Later:
    """Hold a slot; who is in no transaction yet waits for SQLite's one writer like everybody."""
    with nullcontext() if connection.in_atomic_block else hold_writer():
        return start_hold(slot, labeler, is_shown=is_shown)


def one_turn() -> AbstractContextManager[Any]:
    """Let an act and the claim that follows it wait for SQLite's one lock once, and for the disk once.

    PostgreSQL locks rows: there two transactions cost less than one with savepoints in it.
    """
    return nullcontext() if connection.features.has_select_for_update else hold_writer()


def find_held(project: Project, labeler: User) -> list[Slot]:
    """Return the slot shown to her and the one reserved, in this order, where there are such; without their texts."""
    return sorted(list_held(labeler.pk, project.pk), key=lambda slot: (slot.shown_at is None, slot.pk))


@compiled
def list_held(labeler: Any, project: Any) -> QuerySet[Slot]:
    return Slot.objects.held_by(labeler).filter(project=project)


def find_claim(project: Project, labeler: User) -> Slot | None:
    """Return the slot shown to the labeler in this project; changes nothing."""
    return Slot.objects.held_by(labeler).shown().filter(project=project).with_texts().order_by("-shown_at").first()


def find_reserved(project: Project, labeler: User) -> Slot | None:
    """Return the slot kept ready for her; changes nothing."""
    return Slot.objects.held_by(labeler).reserved().filter(project=project).with_texts().first()


def keep_held(held: list[Slot], turn: Turn, *, is_shown: bool) -> Slot | None:
    """Return what she holds and asks for, its lease renewed; a reserved slot becomes the shown one if none is."""
    shown = next((slot for slot in held if slot.shown_at), None)
    reserved = next((slot for slot in held if slot.shown_at is None), None)
    if shown and is_shown:
        return load_slot(shown.pk) if renew_lease(shown, turn.labeler, shown.lease_token) else None
    if reserved and is_shown:
        token = make_lease_token(reserved.pk, turn.labeler)
        return show_reserved(reserved.pk, turn.labeler, lease_token=token)
    if reserved and keep_reserved(reserved, turn):
        return load_slot(reserved.pk)
    return None


def keep_reserved(slot: Slot, turn: Turn) -> bool:
    """Renew a reservation that has not been shown meanwhile; one of a kind she judges no more is given back."""
    if slot.slice_id and not may_judge(turn.membership, Slice.objects.get(pk=slot.slice_id)):
        release_slot(slot, turn.labeler)
        return False
    reserved = Slot.objects.held_by(turn.labeler).reserved().filter(pk=slot.pk)
    return reserved.update(lease_until=Now() + reservation_of(slot.project)) == 1


def show_reserved(
    slot_id: int, labeler: User, *, lease_token: uuid.UUID, shown_at: datetime | None = None
) -> Slot | None:
    """Make the slot kept ready for her the one shown to her, under a full lease; None when it is lost.

    One whose reservation ran out is taken again while it is free. Nothing is shown that she may not judge any more,
    nor beside another slot shown to her; one already shown is returned as it is. shown_at is when the page says it
    showed it, offline maybe: a page could pretend up to PRETENDED, of reserved slots only.
    """
    if not constant_time_compare(str(make_lease_token(slot_id, labeler)), str(lease_token)):
        return None
    slot = Slot.objects.with_texts().annotate(clock=Now()).filter(pk=slot_id).first()
    if slot is None or slot.project.is_archived:
        return None
    with transaction.atomic():
        turn = start_turn(slot.project, labeler)
        if slot.labeler_id != labeler.pk:
            slot.shown_at = slot.clock
            is_free = Slot.objects.claimable_by(labeler).filter(pk=slot_id).exists()
            return slot if is_free and hold_slot(slot, labeler) else None
        if slot.shown_at:
            return slot if renew_lease(slot, labeler, lease_token) else None
        if not show_held(slot, turn, now=slot.clock):
            return None
        slot.shown_at = min(max(shown_at or slot.clock, slot.clock - PRETENDED), slot.clock)
        return slot if Slot.objects.held_by(labeler).filter(pk=slot_id).update(shown_at=slot.shown_at) else None


def show_held(slot: Slot, turn: Turn, *, now: datetime) -> bool:
    """Show a reserved slot she holds; one she may not judge any more, or would rather not, is given back."""
    labeler = turn.labeler
    judged = Judgment.objects.filter(comparison=slot.comparison_id, labeler=labeler, revises=None)
    is_judged = slot.reason != Reason.REPEAT and judged.exists()
    is_unwanted = slot.slice is not None and not may_judge(turn.membership, slot.slice)
    if is_judged or is_unwanted or slot.comparison.state != Comparison.State.OPEN:
        release_slot(slot, labeler)
        return False
    shown = Slot.objects.held_by(labeler).filter(project=slot.project_id).shown()
    reserved = Slot.objects.held_by(labeler).reserved().filter(~Exists(shown), pk=slot.pk)
    slot.shown_at, slot.lease_until = now, now + lease_of(slot.project)
    return reserved.update(shown_at=slot.shown_at, lease_until=slot.lease_until) == 1


def load_slot(slot_id: int) -> Slot:
    return Slot.objects.with_texts().get(pk=slot_id)
