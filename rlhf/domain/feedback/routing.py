"""Which comparisons an annotator has judged go to people all the same: the unsure ones, and some of the sure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.domain.audit import record_event
from labeling.domain.overlap import chunks, lock, set_overlap
from labeling.models import Comparison, Judgment, Slot, User
from rlhf.models import AIJudgment, Annotator

AUDIT_SHARE = 0.05
UNSURE_PRIORITY = 100  # before ordinary work: a vote here teaches most


@dataclass(frozen=True)
class Routing:
    """How many comparisons went to people: unsure ones to the front, and sure ones for an audit."""

    n_unsure: int
    n_audit: int


def route_judgments(annotator: Annotator, *, user: User | None = None, seed: int = 42) -> Routing:
    """Send comparisons no person has judged to the queue: the unsure first, and of the sure a share drawn by chance.

    Done twice it changes nothing. Writes an audit event.
    """
    judged = Judgment.objects.filter(comparison=OuterRef("comparison"))
    said = AIJudgment.objects.filter(~Exists(judged), annotator=annotator, comparison__state=Comparison.State.OPEN)
    said = said.exclude(comparison__prompt__is_held_out=True).exclude(run__config__task="revise")
    unsure = list(said.filter(needs_person=True).values_list("comparison", flat=True).order_by("comparison"))
    sure = list(said.filter(needs_person=False).values_list("comparison", flat=True).order_by("comparison"))
    audit = [pk for pk in sure if random.Random(seed * 1_000_003 + pk).random() < AUDIT_SHARE]
    n_changed = queue_comparisons(annotator, [*unsure, *audit], user=user) + raise_priority(unsure)
    routing = Routing(n_unsure=len(unsure), n_audit=len(audit))
    if n_changed:
        record_event("annotator.route", annotator, actor=user, project=annotator.project, after=vars(routing))
    return routing


def queue_comparisons(annotator: Annotator, ids: list[int], *, user: User | None) -> int:
    """Give comparisons that nobody was to judge the project's overlap; return how many these were."""
    n_queued = 0
    for chunk in chunks(ids):
        out = list(Comparison.objects.filter(pk__in=chunk, overlap=0).values_list("pk", flat=True))
        set_overlap(out, annotator.project.overlap, actor=user)
        n_queued += len(out)
    return n_queued


def raise_priority(ids: list[int]) -> int:
    """Let these be claimed first, with the copies their slots are ordered by; return how many were not yet."""
    n_raised = 0
    for chunk in chunks(ids):
        with transaction.atomic():
            low = lock(Comparison.objects.filter(pk__in=chunk, priority__lt=UNSURE_PRIORITY))
            found = [comparison.pk for comparison in low]
            Comparison.objects.filter(pk__in=found).update(priority=UNSURE_PRIORITY)
            Slot.objects.of_work().filter(comparison__in=found).exclude(state=Slot.State.DONE).update(
                priority=UNSURE_PRIORITY
            )
            n_raised += len(found)
    return n_raised
