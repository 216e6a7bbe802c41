"""How fresh the queue is: pairs of policies long gone come last or are retired, by the loop's rule, and are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from labeling.domain.audit import record_event
from labeling.domain.overlap import CHUNK, chunks, shut_slots
from labeling.models import Comparison, Project, Slot, User
from rlhf.domain.terms import Terms
from rlhf.models import Checkpoint, Loop, Round, Sample

# Under every priority a round gives, and under that of pairs that came otherwise, which is 0.
STALE_PRIORITY = -1


def list_waiting(project: Project) -> QuerySet[Comparison]:
    """Return the comparisons a labeler may still be given."""
    free = Slot.objects.free().filter(comparison=OuterRef("pk"))
    waiting: QuerySet[Comparison] = Comparison.objects.filter(
        Exists(free), project=project, state=Comparison.State.OPEN
    )
    return waiting


def list_of_rounds(project: Project, rounds: Q) -> QuerySet[Comparison]:
    """Return the waiting comparisons whose sides rounds of this kind put together, and no later round did."""
    waiting = list_waiting(project)
    for side in ("completion_a", "completion_b"):
        shown = Sample.objects.filter(completion=OuterRef(side), run__round__project=project)
        waiting = waiting.filter(Exists(shown.filter(rounds)), ~Exists(shown.exclude(rounds)))
    return waiting


def apply_stale_rule(project: Project, terms: Terms, *, number: int) -> int:
    """Down-rank or retire the waiting pairs of rounds that lie stale_after rounds back; return how many were changed."""
    if terms.stale_rule == Loop.Stale.KEEP or terms.stale_after <= 0:
        return 0
    stale = list_of_rounds(project, Q(run__round__number__lte=number - terms.stale_after))
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
    """Return how many comparisons that votes may still come of show the round's candidate against the policy before it.

    Those a labeler holds count: she is about to judge them.
    """
    sides = [{"completion_a": round.candidate, "completion_b": round.base}]
    sides.append({"completion_a": round.base, "completion_b": round.candidate})
    is_duel = Q()
    for pairing in sides:
        one = Q()
        for side, checkpoint in pairing.items():
            one &= Q(Exists(Sample.objects.filter(completion=OuterRef(side), checkpoint=checkpoint)))
        is_duel |= one
    awaited = Slot.objects.of_work().filter(comparison=OuterRef("pk"), state__in=["free", "held"])
    duels = Comparison.objects.filter(is_duel, Exists(awaited), project=round.project, state=Comparison.State.OPEN)
    return duels.count()


def count_fresh(policies: Iterable[int]) -> dict[int, int]:
    """Return by project how many waiting comparisons show a completion of one of these policies, by id; a query for all."""
    ids = list(policies)
    drawn = Sample.objects.filter(checkpoint__in=ids)
    free = Slot.objects.free().filter(comparison=OuterRef("pk"))
    is_drawn = Q(Exists(drawn.filter(completion=OuterRef("completion_a")))) | Q(
        Exists(drawn.filter(completion=OuterRef("completion_b")))
    )
    projects = Checkpoint.objects.filter(pk__in=ids).values("project")
    rows = Comparison.objects.filter(Exists(free), is_drawn, project__in=projects, state=Comparison.State.OPEN)
    return {row["project"]: row["n"] for row in rows.order_by().values("project").annotate(n=Count("id"))}
