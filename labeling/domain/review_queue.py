"""What waits for one reviewer, first things first, and what she decided last."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from labeling.domain.review import find_disputed, list_triage
from labeling.models import Adjudication, Comparison, Judgment, Project, User
from labeling.querysets import ComparisonQuerySet

SHOWN = 100


def list_disputed(project: Project, reviewer: User, *, n: int = SHOWN) -> list[Comparison]:
    """Return the first comparisons whose labelers disagree, those she has a hand in left out, with their prompts."""
    return list(leave_out_own(find_disputed(project), reviewer).select_related("prompt")[:n])


def list_passed_on(project: Project, reviewer: User, *, n: int = SHOWN) -> list[Comparison]:
    """Return the first comparisons that were passed on too often, those she has a hand in left out, with their prompts."""
    return list(leave_out_own(list_triage(project), reviewer).select_related("prompt")[:n])


def leave_out_own(comparisons: ComparisonQuerySet, reviewer: User) -> ComparisonQuerySet:
    """Leave out what she judged or wrote herself: someone else decides it."""
    hers = Judgment.objects.filter(comparison=OuterRef("pk"), labeler=reviewer)
    others: ComparisonQuerySet = comparisons.exclude(
        Q(completion_a__author=reviewer) | Q(completion_b__author=reviewer) | Exists(hers)
    )
    return others


def find_next(project: Project, reviewer: User, *, after: int | None = None) -> int | None:
    """Return the comparison she decides next: the one behind `after` in her queue, or else the first of it."""
    waiting = [*leave_out_own(find_disputed(project), reviewer).values_list("pk", flat=True)[:SHOWN]]
    if len(waiting) < SHOWN:
        waiting += leave_out_own(list_triage(project), reviewer).values_list("pk", flat=True)[:SHOWN]
    place = waiting.index(after) + 1 if after in waiting else 0
    rest = [pk for pk in [*waiting[place:], *waiting[:place]] if pk != after]
    return rest[0] if rest else None


def list_decided(project: Project, reviewer: User, *, n: int = 10) -> list[Adjudication]:
    """Return what she decided last, newest first."""
    decided = Adjudication.objects.filter(comparison__project=project, reviewer=reviewer)
    return list(decided.select_related("comparison__prompt").order_by("-id")[:n])
