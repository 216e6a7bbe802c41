"""The judgments that bring a round nearer: which count, and how many there are since the last one began."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import combinations
from operator import or_

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet

from labeling.models import Judgment, Membership, Project
from rlhf.models import Checkpoint, Loop, Round

CHUNK = 200  # projects a query: SQLite takes a condition of a thousand parts, and no more
IS_USED = ~Q(state=Round.State.FAILED) | Q(decision=Round.Decision.PROMOTED)


def list_votes() -> QuerySet[Judgment]:
    """Return the judgments that count toward a round, each vote once however often it was revised.

    Probes and what labelers in quarantine say do not count: a freeze leaves them out.
    """
    suspects = Membership.objects.filter(
        project=OuterRef("comparison__project"), user=OuterRef("labeler"), is_quarantined=True
    )
    votes: QuerySet[Judgment] = Judgment.objects.of_work().filter(~Exists(suspects), revises=None)
    return votes


def list_new_votes(loop: Loop) -> QuerySet[Judgment]:
    """Return the votes since the project's last round began, of its slice if it has one."""
    votes = list_votes().filter(comparison__project=loop.project_id, pk__gt=last_judgment_used(loop.project))
    return votes.filter(comparison__prompt__slice=loop.slice_id) if loop.slice_id else votes


def count_new_judgments(project: Project) -> int:
    """Return how many votes came in since the last round began."""
    loop = Loop.objects.select_related("project").filter(project=project).first()
    return list_new_votes(loop or Loop(project=project)).count()


def last_judgment_used(project: Project) -> int:
    """Return the id of the last judgment a round used: one that did not fail, or whose policy was promoted before it did."""
    upto: int | None = Round.objects.filter(IS_USED, project=project).aggregate(upto=Max("upto"))["upto"]
    return upto or 0


def last_judgment_learned(policy: Checkpoint | None) -> int:
    """Return the id of the last judgment a policy has learned from: of the round that made it.

    What a candidate learned that was not promoted is so told to the next one, which does not descend from it.
    """
    upto = Round.objects.filter(candidate=policy).values_list("upto", flat=True).first() if policy else None
    return upto or 0


def count_new(slices: Mapping[int, int | None]) -> dict[int, int]:
    """Return the votes since each project's last round began, given the slice its rounds ask for by project.

    A query for each 200 projects: pages ask every two seconds, the sweeper every thirty.
    """
    rounds = Round.objects.filter(IS_USED, project__in=slices)
    used = {row["project"]: row["upto"] for row in rounds.order_by().values("project").annotate(upto=Max("upto"))}
    wanted = [
        Q(comparison__project=pk, pk__gt=used.get(pk, 0)) & (Q(comparison__prompt__slice=of) if of else Q())
        for pk, of in slices.items()
    ]
    found: dict[int, int] = {}
    for start in range(0, len(wanted), CHUNK):
        votes = list_votes().filter(reduce(or_, wanted[start : start + CHUNK])).order_by()
        rows = votes.values(project_id=F("comparison__project")).annotate(n=Count("id"))
        found |= {row["project_id"]: row["n"] for row in rows}
    return found


def measure_agreement(loop: Loop) -> tuple[float, int]:
    """Return the share of agreeing pairs of votes on the comparisons that were newly judged, and how many pairs.

    Two votes agree that name the same winner, or both none. Without two votes on anything: 1 and 0.
    """
    judged = list_new_votes(loop).values("comparison")
    strengths: dict[int, list[int]] = {}
    current = Judgment.objects.of_work().current().filter(comparison__in=judged)
    for comparison, strength in current.values_list("comparison", "strength"):
        strengths.setdefault(comparison, []).append((strength > 0) - (strength < 0))
    pairs = [pair for signs in strengths.values() for pair in combinations(signs, 2)]
    return (sum(one == other for one, other in pairs) / len(pairs) if pairs else 1.0), len(pairs)
