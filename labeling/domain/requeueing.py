"""Others are asked for what a labeler in quarantine judged: each comparison that lost her vote gets a new slot."""

from __future__ import annotations

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from labeling.domain.audit import record_event
from labeling.domain.overlap import CHUNK, OverlapChange, list_slots, lock, raise_overlap
from labeling.models import Adjudication, AuditEvent, Comparison, Membership, Slot, User

VERB = "member.requeue"


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
