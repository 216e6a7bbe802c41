"""A labeler passes a comparison on, or a whole slice, and may think better of it."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from labeling.domain.assignment import check_lease_token, hold_slot, load_slot, require_member
from labeling.domain.audit import record_event
from labeling.domain.errors import AlreadyJudged, ClaimLost, InvalidContent, InvalidJudgment
from labeling.domain.overlap import open_slots, shut_slots
from labeling.models import (
    PROBES,
    Adjudication,
    Comparison,
    Gold,
    Judgment,
    Membership,
    Project,
    Reason,
    Skip,
    Slice,
    Slot,
    User,
)


def skip_comparison(
    slot_id: int, labeler: User, *, lease_token: uuid.UUID, reason: str, project: Project | None = None
) -> Skip:
    """Free the slot and never offer its comparison to this labeler again; the same skip again is the stored row.

    No skip is held against her, whatever its reason. Where as many labelers as the project says passed a comparison
    on, it waits for a reviewer. A question of an exam is not skipped, for there are only so many.
    """
    slot = Slot.objects.select_related("project").filter(pk=slot_id).first()
    if slot is None or (project and slot.project != project):
        raise ClaimLost(_("This comparison is gone: take the next one."))
    require_member(slot.project, labeler)
    check_lease_token(slot_id, labeler, lease_token)
    is_probe = slot.reason in PROBES
    if not is_probe and Judgment.objects.filter(comparison=slot.comparison_id, labeler=labeler).exists():
        raise AlreadyJudged(_("You have judged this comparison already; use undo to change your vote."))
    if slot.reason == Reason.EXAM:
        raise InvalidJudgment(_("A question of an exam cannot be skipped: answer as well as you can."))
    with transaction.atomic():
        skip, _is_new = Skip.objects.get_or_create(
            comparison_id=slot.comparison_id, labeler=labeler, defaults={"reason": Skip.Reason(reason)}
        )
        Slot.objects.held_by(labeler).filter(comparison=slot.comparison_id).put_by()
        Slot.objects.held_by(labeler).filter(comparison=slot.comparison_id).free_up()
        if not is_probe:
            send_to_triage(slot.comparison_id, slot.project)
    return skip


def send_to_triage(comparison_id: int, project: Project) -> bool:
    """Let the comparison wait for a reviewer if enough labelers passed it on; True when it does from now on."""
    if not project.triage_after:
        return False
    lock(comparison_id)
    if count_skips(comparison_id) < project.triage_after:
        return False
    waiting = Comparison.objects.filter(pk=comparison_id, state=Comparison.State.OPEN, gold__isnull=True)
    has_moved = waiting.update(state=Comparison.State.TRIAGE) == 1
    shut_slots([comparison_id])  # the slot she just gave back, too, where it waited already
    return has_moved


def bring_back(comparison_id: int, project: Project) -> bool:
    """Queue a comparison again that waits for a reviewer while too few labelers passed it on."""
    lock(comparison_id)
    if count_skips(comparison_id) >= project.triage_after:
        return False
    waiting = Comparison.objects.filter(pk=comparison_id, state=Comparison.State.TRIAGE)
    if not waiting.update(state=Comparison.State.OPEN):
        return False
    open_slots([comparison_id])
    return True


def lock(comparison_id: int) -> None:
    """Keep other skips of a comparison waiting, where the database has row locks: two at once would miss each other."""
    list(Comparison.objects.filter(pk=comparison_id).select_for_update(no_key=True).values_list("pk"))


def count_skips(comparison_id: int) -> int:
    """Return how many labelers passed a comparison on since a reviewer last decided of it; skips of probes count not."""
    probes = Slot.objects.filter(comparison=OuterRef("comparison"), number=OuterRef("labeler") + Slot.PROBE_NUMBER)
    skips = Skip.objects.filter(~Exists(probes), comparison=comparison_id)
    decided = Adjudication.objects.filter(comparison=comparison_id).values_list("created_at", flat=True).first()
    return skips.filter(created_at__gt=decided).count() if decided else skips.count()


def undo_skip(project: Project, labeler: User, *, before: datetime | None = None) -> Slot | None:
    """Forget the labeler's last skip, give back what she holds, and give her the skipped comparison if it is free.

    before: of her skips until then.
    """
    membership = require_member(project, labeler)
    skip = find_last_skip(project, labeler, before=before)
    if skip is None:
        raise ClaimLost(_("There is no skip to undo."))
    with transaction.atomic():
        skip.delete()
        record_undo(skip, labeler, project)
        probe = find_put_by(skip)
        Slot.objects.held_by(labeler).filter(project=project).free_up()
        if probe:
            return give_probe(probe, membership)
        bring_back(skip.comparison_id, project)
        return give_work(skip.comparison_id, labeler)


def find_put_by(skip: Skip) -> Slot | None:
    """Return the probe that was skipped, or None where it was work."""
    number = Slot.PROBE_NUMBER + skip.labeler_id
    put_by = Slot.objects.filter(comparison=skip.comparison_id, number=number, state=Slot.State.SHUT)
    return put_by.select_related("project", "comparison").first()


def give_probe(slot: Slot, membership: Membership) -> Slot | None:
    """Give her a probe again that she skipped; one that measures nothing any more is deleted."""
    if is_wanted(slot, membership):
        Slot.objects.filter(pk=slot.pk).update(state=Slot.State.FREE)
        if hold_slot(slot, membership.user):
            return load_slot(slot.pk)
    Slot.objects.filter(pk=slot.pk).delete()
    return None


def is_wanted(slot: Slot, membership: Membership) -> bool:
    """Say whether her answer to a probe would still measure her."""
    if slot.comparison.state != Comparison.State.OPEN:
        return False
    if slot.reason == Reason.REPEAT:
        return True
    is_exam = slot.reason == Reason.EXAM
    if is_exam and not (slot.project.exam_size and membership.exam == Membership.Exam.OPEN):
        return False
    return Gold.objects.filter(comparison=slot.comparison_id, is_active=True, is_exam=is_exam).exists()


def give_work(comparison_id: int, labeler: User) -> Slot | None:
    """Give her a free slot of a comparison; None when there is none, or she had one before."""
    free = Slot.objects.free().of_work().filter(comparison=comparison_id, comparison__state="open")
    try:
        with transaction.atomic():
            for slot in free.select_related("project").order_by("number"):
                if hold_slot(slot, labeler):
                    return load_slot(slot.pk)
    except IntegrityError:
        return None
    return None


def record_undo(skip: Skip, labeler: User, project: Project) -> None:
    """Put on the trail that a skip, whose row is deleted, was taken back."""
    before = {"reason": skip.reason, "at": skip.created_at.isoformat()}
    record_event("skip.undo", f"comparison {skip.comparison_id}", actor=labeler, project=project, before=before)


def find_last_skip(project: Project, labeler: User, *, before: datetime | None = None) -> Skip | None:
    skips = Skip.objects.filter(comparison__project=project, labeler=labeler).order_by("-id")
    return (skips.filter(created_at__lt=before) if before else skips).first()


def decline_slice(project: Project, labeler: User, name: str) -> Membership:
    """Show the labeler nothing of this slice any more, and give back what she holds of it; nobody asks her why."""
    if not Slice.objects.filter(project=project, name=name).exists():
        raise InvalidContent(_("This project has no slice of that name: reload the page."))
    with transaction.atomic():
        membership = change_declined(project, labeler, add=name)
        Slot.objects.held_by(labeler).filter(project=project, slice__name=name).free_up()
    return membership


def accept_slice(project: Project, labeler: User, name: str) -> Membership:
    """Show the labeler this slice again."""
    return change_declined(project, labeler, remove=name)


@transaction.atomic
def change_declined(
    project: Project, labeler: User, *, add: str | None = None, remove: str | None = None
) -> Membership:
    """Store which slices she would rather not see, with an audit event where that changes."""
    require_member(project, labeler)
    membership = Membership.objects.select_for_update(no_key=True).get(project=project, user=labeler)
    before = list(membership.declined)
    after = sorted({*before, *([add] if add is not None else [])} - {remove})
    if after != sorted(before):
        membership.declined = after
        membership.save(update_fields=["declined"])
        record_event(
            "member.decline",
            labeler,
            actor=labeler,
            project=project,
            before={"declined": before},
            after={"declined": after},
        )
    return membership
