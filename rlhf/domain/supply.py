"""What a quota can still be filled from: places for judgments on pairs that count, and that they come first."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_

from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from labeling.models import Comparison, Project, Slice, Slot
from rlhf.domain.freshness import SENT_PRIORITY, list_waiting, raise_priority, record_many
from rlhf.domain.quota import Quota, read_quota, shows
from rlhf.domain.terms import get_loop
from rlhf.models import Round, Sample


def find_supplied(quotas: Iterable[Quota]) -> set[int]:
    """Return the ids of the projects with a place for a judgment that counts, free or held.

    A query for each kind of quota there is, whatever the number of projects.
    """
    quotas = list(quotas)
    places = Slot.objects.of_work().filter(state__in=[Slot.State.FREE, Slot.State.HELD])
    plain = [quota.project for quota in quotas if not quota.policies and not quota.slice]
    sliced = [quota.slice.pk for quota in quotas if not quota.policies and quota.slice]
    choosy = [quota for quota in quotas if quota.policies]
    found: set[int] = set()
    if plain:
        has_place = Exists(places.filter(project=OuterRef("pk")))
        found.update(Project.objects.filter(has_place, pk__in=plain).values_list("pk", flat=True))
    if sliced:
        has_place = Exists(places.filter(comparison__prompt__slice=OuterRef("pk")))
        found.update(Slice.objects.filter(has_place, pk__in=sliced).values_list("project", flat=True))
    if choosy:
        found |= find_drawn(choosy, places)
    return found


def find_drawn(quotas: list[Quota], places: QuerySet[Slot]) -> set[int]:
    """Return the projects of pairs that their policies wrote and that have a place: from the samples on, not the queue."""
    policies = [policy for quota in quotas for policy in quota.policies]
    drawn = Sample.objects.filter(checkpoint__in=policies, completion__isnull=False).values("completion")
    has_place = Exists(places.filter(comparison=OuterRef("pk")))
    pairs = Comparison.objects.filter(has_place, reduce(or_, [quota.covers("") for quota in quotas])).order_by()
    of_a, of_b = (pairs.filter(**{f"{side}__in": drawn}) for side in ("completion_a", "completion_b"))
    return set(of_a.values_list("project", flat=True).union(of_b.values_list("project", flat=True)))


def raise_supply(project: Project) -> int:
    """Let waiting pairs that count come before all that do not, as many as a quota needs; return how many were raised.

    What was sent to people before all ordinary work stays before them.
    """
    loop = get_loop(project)
    quota = read_quota(loop)
    if not quota.policies and not quota.slice:
        return 0
    waiting = list_waiting(project).filter(priority__lt=SENT_PRIORITY)
    counts = quota.covers("") & (shows(quota.policies) if quota.policies else Q())
    top = waiting.filter(~counts).aggregate(top=Max("priority"))["top"]
    if top is None:
        return 0
    n_lacking = loop.threshold - waiting.filter(counts, priority__gt=top).count()
    behind = waiting.filter(counts, priority__lte=top).order_by("content_sha")
    ids = list(behind.values_list("pk", flat=True)[: max(n_lacking, 0)])
    facts = {"priority": top + 1, "because": f"the next round asks for {quota.pairs}"}
    record_many("comparison.raise", project, ids, facts)
    return raise_priority(ids, top + 1)


def find_place(round: Round) -> int:
    """Return the priority of a round's pairs: its number, or more where what waited when it began would come first.

    What was sent to people comes before every round.
    """
    waited = list_waiting(round.project).filter(priority__lt=SENT_PRIORITY, created_at__lt=round.created_at)
    top = waited.aggregate(top=Max("priority"))["top"]
    return min(round.number if top is None else max(round.number, top + 1), SENT_PRIORITY - 1)
