"""Comparisons are asked about anew: under a new guideline, or because the vote of a labeler in quarantine is lost."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from labeling.domain.audit import record_event
from labeling.domain.overlap import CHUNK, OverlapChange, chunks, list_slots, lock, raise_overlap
from labeling.models import Adjudication, AuditEvent, Comparison, Guideline, Judgment, Membership, Project, Slot, User

VERB = "member.requeue"


def requeue(project: Project, *, before_guideline: Guideline, actor: User | None) -> OverlapChange:
    """Queue anew the open comparisons whose every judgment followed a guideline before this one.

    Each gets new slots until as many are waiting as it has judgments wanted, though no more than the project's
    overlap; whoever has one before her reads the old guideline beside it, and is not waited for. The old judgments
    stay, under their versions. Whoever judged a comparison is not given it again - she has one slot of each comparison
    for ever - so the new slots wait for other labelers, and a project whose labelers have all judged a comparison needs
    more people; a labeler can still revise what she said. Run again, it adds nothing: 500 comparisons a transaction,
    the last writes the audit event.
    """
    change = OverlapChange()
    for chunk in chunks(list_outdated(project, before_guideline)):
        change += requeue_chunk(project, chunk, before_guideline)
    subject = f"guideline v{before_guideline.version}"
    record_event("comparison.requeue", subject, actor=actor, project=project, after=vars(change))
    return change


def list_outdated(project: Project, guideline: Guideline) -> Iterator[int]:
    judgments = Judgment.objects.of_work().filter(comparison=OuterRef("pk"))
    fresh = judgments.filter(guideline__version__gte=guideline.version)
    queued = Comparison.objects.without_gold().filter(project=project, state=Comparison.State.OPEN)
    judged = queued.filter(n_judgments__gt=0)
    outdated = judged.exclude(Exists(fresh)).order_by("pk")
    return iter(list(outdated.values_list("pk", flat=True)))


@transaction.atomic
def requeue_chunk(project: Project, ids: list[int], guideline: Guideline) -> OverlapChange:
    comparisons = lock(Comparison.objects.filter(pk__in=ids))
    slots = list_slots(comparisons)
    change = OverlapChange()
    for comparison in comparisons:
        stored = slots.get(comparison.pk, [])
        n_waiting = sum(will_follow(slot, guideline) for slot in stored)
        n = min(comparison.overlap, project.overlap) - n_waiting
        if n > 0:
            n_added = len(raise_overlap(comparison, stored, n))
            change += OverlapChange(n_comparisons=int(n_added > 0), n_added=n_added)
    return change


def will_follow(slot: Slot, guideline: Guideline) -> bool:
    """Say whether what will be said in a slot follows this guideline, as far as can be told: whoever has the pair before
    her, or ready behind it, has the older one beside it.
    """
    if slot.state == Slot.State.HELD:
        return slot.shown_at is not None and slot.shown_at >= guideline.created_at
    return slot.state != Slot.State.DONE


def requeue_lost(membership: Membership, *, actor: User | None) -> OverlapChange:
    """Give the open comparisons that lost her vote a new slot each, and return how many those were.

    Killed halfway and run again it goes on where it stopped, and after a reinstatement and another quarantine it asks
    for nothing twice: the trail says up to which judgment others were asked.
    """
    change = OverlapChange()
    while True:
        added = requeue_next(membership, actor=actor)
        if added is None:
            return change
        change += added


@transaction.atomic
def requeue_next(membership: Membership, *, actor: User | None) -> OverlapChange | None:
    """Ask others for the next chunk of what she judged; None when there is no more."""
    membership = Membership.objects.select_for_update(no_key=True).get(pk=membership.pk)
    if not membership.is_quarantined:
        return None
    places = find_lost(membership, after=find_place(membership)).values_list(
        "comparison_id", "judgment", "is_conditional"
    )
    lost = {comparison: (judgment, is_conditional) for comparison, judgment, is_conditional in places[:CHUNK]}
    if not lost:
        return None
    comparisons = lock(Comparison.objects.without_gold().filter(pk__in=lost, state=Comparison.State.OPEN))
    stored = list_slots(comparisons)
    n_added = sum(
        len(raise_overlap(row, stored.get(row.pk, []), 1, is_conditional=lost[row.pk][1])) for row in comparisons
    )
    change = OverlapChange(n_comparisons=len(comparisons), n_added=n_added)
    said = vars(change) | {"upto": max(judgment for judgment, _ in lost.values())}
    record_event(VERB, membership.user, actor=actor, project=membership.project, after=said)
    return change


def find_lost(membership: Membership, *, after: int) -> QuerySet[Slot]:
    """Return her places of work whose votes counted until now, from the judgment after that id on."""
    sent_back = Adjudication.objects.filter(comparison=OuterRef("comparison"), act=Adjudication.Act.SEND_BACK)
    upto = Coalesce(Subquery(sent_back.order_by("-id").values("upto")[:1]), 0)
    done = Slot.objects.of_work().filter(
        labeler=membership.user, project=membership.project_id, state=Slot.State.DONE, judgment__pk__gt=after
    )
    return done.filter(comparison__state=Comparison.State.OPEN, judgment__pk__gt=upto).order_by("judgment__pk")


def find_place(membership: Membership) -> int:
    """Return the id of the judgment up to which others were asked already, or 0."""
    events = AuditEvent.objects.filter(project=membership.project_id, verb=VERB, subject=str(membership.user))
    last = events.order_by("-id").first()
    return int(last.after["upto"]) if last else 0
