"""How fresh the queue is: pairs of policies long gone come last or are retired, by the loop's rule, and are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from labeling.domain.audit import record_event
from labeling.domain.overlap import CHUNK, chunks, lock, shut_slots
from labeling.models import Comparison, Project, Slot, User
from rlhf.domain.terms import Terms
from rlhf.models import Checkpoint, Loop, Round, Sample

# Under every priority a round gives, and under that of pairs that came otherwise, which is 0.
STALE_PRIORITY = -1
# Over them all, for what is sent to people before ordinary work.
SENT_PRIORITY = 100


def list_waiting(project: Project) -> QuerySet[Comparison]:
    """Return the comparisons a labeler may still be given."""
    free = Slot.objects.free().filter(comparison=OuterRef("pk"))
    waiting: QuerySet[Comparison] = Comparison.objects.filter(
        Exists(free), project=project, state=Comparison.State.OPEN
    )
    return waiting


def list_drawn(project: Project, drawn: Q) -> QuerySet[Comparison]:
    """Return the waiting comparisons both sides of which are samples of this kind that a round drew, and none of another."""
    waiting = list_waiting(project)
    for side in ("completion_a", "completion_b"):
        shown = Sample.objects.filter(completion=OuterRef(side), run__round__project=project)
        waiting = waiting.filter(Exists(shown.filter(drawn)), ~Exists(shown.exclude(drawn)))
    return waiting


def list_awaited(project: Project) -> QuerySet[Comparison]:
    """Return the comparisons that votes may still come of; those a labeler holds count: she is about to judge them."""
    awaited = Slot.objects.of_work().filter(comparison=OuterRef("pk"), state__in=[Slot.State.FREE, Slot.State.HELD])
    found: QuerySet[Comparison] = Comparison.objects.filter(
        Exists(awaited), project=project, state=Comparison.State.OPEN
    )
    return found


def list_of_policies(project: Project, policies: Collection[int]) -> QuerySet[Comparison]:
    """Return the awaited comparisons that show on either side what one of these policies, by id, said, and no other did.

    Those a labeler holds count: she may give them back, and somebody else would be asked.
    """
    is_shown = Q()
    for side in ("completion_a", "completion_b"):
        said = Sample.objects.filter(completion=OuterRef(side))
        is_shown |= Q(Exists(said.filter(checkpoint__in=policies)), ~Exists(said.exclude(checkpoint__in=policies)))
    return list_awaited(project).filter(is_shown)


def list_outdated(project: Project, n: int) -> list[int]:
    """Return the ids of the policies since which n others were promoted, or more.

    Rounds whose candidate was not promoted, or that only filled the queue, make no policy older.
    """
    made: dict[int, int] = {}  # by policy, the number of the round that made it
    promoted = []
    for round in Round.objects.filter(project=project).order_by("number"):
        if round.base_id is not None:
            made.setdefault(round.base_id, round.number - 1)
        if round.candidate_id is not None:
            made[round.candidate_id] = round.number
        if round.decision == Round.Decision.PROMOTED:
            promoted.append(round.number)
    return [pk for pk, number in made.items() if sum(later > number for later in promoted) >= n]


def apply_stale_rule(project: Project, terms: Terms, *, number: int) -> int:
    """Down-rank or retire the waiting pairs of policies since which stale_after others were promoted.

    A pair is as old as the newer of its two policies. Returns how many were changed.
    """
    if terms.stale_rule == Loop.Stale.KEEP or terms.stale_after <= 0:
        return 0
    stale = list_drawn(project, Q(checkpoint__in=list_outdated(project, terms.stale_after)))
    if terms.stale_rule == Loop.Stale.RETIRE:
        return retire_pairs(project, stale, because=f"stale in round {number}")
    ids = list(stale.exclude(priority=STALE_PRIORITY).values_list("pk", flat=True))
    for chunk in chunks(ids):
        Slot.objects.filter(comparison__in=chunk).update(priority=STALE_PRIORITY)
        Comparison.objects.filter(pk__in=chunk).update(priority=STALE_PRIORITY)
    record_many(
        "comparison.down_rank", project, ids, {"priority": STALE_PRIORITY, "because": f"stale in round {number}"}
    )
    return len(ids)


def raise_priority(ids: Iterable[int], priority: int) -> int:
    """Let these be claimed before what is lower, with the copies their slots are ordered by; return how many were lower."""
    n_raised = 0
    for chunk in chunks(ids):
        with transaction.atomic():
            low = lock(Comparison.objects.filter(pk__in=chunk, priority__lt=priority))
            found = [comparison.pk for comparison in low]
            Comparison.objects.filter(pk__in=found).update(priority=priority)
            slots = Slot.objects.of_work().filter(comparison__in=found).exclude(state=Slot.State.DONE)
            slots.update(priority=priority)
            n_raised += len(found)
    return n_raised


def retire_pairs(project: Project, waiting: QuerySet[Comparison], *, because: str, user: User | None = None) -> int:
    """Hand these out no more; what was judged of them stays. Returns how many there were."""
    ids = list(waiting.values_list("pk", flat=True))
    for chunk in chunks(ids):
        shut_slots(chunk)
        Comparison.objects.filter(pk__in=chunk, state=Comparison.State.OPEN).update(state=Comparison.State.RETIRED)
    facts = {"state": Comparison.State.RETIRED.value, "because": because}
    record_many("comparison.retire", project, ids, facts, user=user)
    return len(ids)


def record_many(
    verb: str, project: Project, ids: list[int], facts: dict[str, Any], *, user: User | None = None
) -> None:
    """Keep what was done to many comparisons at once, with their ids."""
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        record_event(verb, f"{len(part)} comparisons", actor=user, project=project, after={**facts, "ids": part})


def count_duels(round: Round) -> int:
    """Return how many comparisons that votes may still come of show the round's candidate against the policy before it."""
    sides = [{"completion_a": round.candidate, "completion_b": round.base}]
    sides.append({"completion_a": round.base, "completion_b": round.candidate})
    is_duel = Q()
    for pairing in sides:
        one = Q()
        for side, checkpoint in pairing.items():
            one &= Q(Exists(Sample.objects.filter(completion=OuterRef(side), checkpoint=checkpoint)))
        is_duel |= one
    return list_awaited(round.project).filter(is_duel).count()


def count_fresh(policies: Iterable[int]) -> dict[int, int]:
    """Return by project how many waiting comparisons show a completion of one of these policies, by id; a query for all."""
    ids = list(policies)
    free = Slot.objects.free().filter(comparison=OuterRef("pk"))
    projects = Checkpoint.objects.filter(pk__in=ids).values("project")
    waiting = Comparison.objects.filter(Exists(free), project__in=projects, state=Comparison.State.OPEN).order_by()
    # From the samples on, side by side: either side at once is looked for in the whole queue.
    drawn = Sample.objects.filter(checkpoint__in=ids, completion__isnull=False).values("completion")
    of_a, of_b = (waiting.filter(**{f"{side}__in": drawn}) for side in ("completion_a", "completion_b"))
    shown = of_a.values_list("pk", "project").union(of_b.values_list("pk", "project"))
    return dict(Counter(project for _, project in shown))
