"""The judgments that bring a round nearer: which count, and how many there are since the last one began."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import combinations
from operator import or_

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet

from labeling.models import Judgment, Membership, Project
from rlhf.domain.quota import IS_USED, Quota, read_quota, shows
from rlhf.models import Checkpoint, Loop, Round

CHUNK = 200  # projects a query: SQLite takes a condition of a thousand parts, and no more


def list_votes() -> QuerySet[Judgment]:
    """Return the judgments that count toward a round, each vote once however often it was revised.

    Probes and what labelers in quarantine say do not count: a freeze leaves them out.
    """
    suspects = Membership.objects.filter(
        project=OuterRef("comparison__project"), user=OuterRef("labeler"), is_quarantined=True
    )
    votes: QuerySet[Judgment] = Judgment.objects.of_work().filter(~Exists(suspects), revises=None)
    return votes


def list_new_votes(quota: Quota) -> QuerySet[Judgment]:
    """Return the votes that count toward a quota."""
    return list_votes().filter(match_votes([quota]))


def match_votes(quotas: Iterable[Quota]) -> Q:
    """Return the condition under which a vote counts toward one of these quotas."""
    counted = Q(pk__in=[])
    quotas = list(quotas)
    for is_choosy in (False, True):
        alike = [quota for quota in quotas if bool(quota.policies) == is_choosy]
        if alike:
            of_project = reduce(or_, [quota.covers("comparison__") & Q(pk__gt=quota.after) for quota in alike])
            # Once for all: a condition for each project would be as many subqueries.
            policies = [policy for quota in alike for policy in quota.policies]
            counted |= of_project & shows(policies, "comparison__") if is_choosy else of_project
    return counted


def count_new_judgments(project: Project) -> int:
    """Return how many votes count toward the project's next round."""
    loop = Loop.objects.select_related("policy", "slice").filter(project=project).first()
    return list_new_votes(read_quota(loop or Loop(project=project))).count()


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


def count_new(quotas: Iterable[Quota]) -> dict[int, int]:
    """Return by project how many votes count toward its quota.

    A query for each 200 projects: pages ask every two seconds, the sweeper every thirty.
    """
    quotas = list(quotas)
    found: dict[int, int] = {}
    for start in range(0, len(quotas), CHUNK):
        votes = list_votes().filter(match_votes(quotas[start : start + CHUNK])).order_by()
        rows = votes.values(project_id=F("comparison__project")).annotate(n=Count("id"))
        found |= {row["project_id"]: row["n"] for row in rows}
    return found


def measure_agreement(loop: Loop) -> tuple[float, int]:
    """Return the share of agreeing pairs of votes on the comparisons that were newly judged, and how many pairs.

    Two votes agree that name the same winner, or both none; those asked for because others disagreed are left out.
    Without two votes on anything: 1 and 0.
    """
    judged = list_new_votes(read_quota(loop)).values("comparison")
    strengths: dict[int, list[int]] = {}
    current = Judgment.objects.of_work().current().filter(comparison__in=judged, is_conditional=False)
    for comparison, strength in current.values_list("comparison", "strength"):
        strengths.setdefault(comparison, []).append((strength > 0) - (strength < 0))
    pairs = [pair for signs in strengths.values() for pair in combinations(signs, 2)]
    return (sum(one == other for one, other in pairs) / len(pairs) if pairs else 1.0), len(pairs)
