"""How much a judgment of each comparison would teach, as somebody else has estimated it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from labeling.domain.errors import InvalidContent
from labeling.models import Comparison, Project, Slot

CHUNK = 500


def score_comparisons(project: Project, scores: Mapping[int, float]) -> int:
    """Store how much a judgment of each comparison would teach, with the copies its slots are ordered by.

    Scores are by the comparison's id; ids of other projects are passed over. Returns how many were stored, 500 a
    transaction.
    """
    if wrong := [pk for pk, score in scores.items() if not math.isfinite(score)]:
        raise InvalidContent(_("The score of comparison %s is not a number.") % wrong[0])
    n_stored, listed = 0, sorted(scores)
    for start in range(0, len(listed), CHUNK):
        n_stored += score_chunk(project, {pk: scores[pk] for pk in listed[start : start + CHUNK]})
    return n_stored


@transaction.atomic
def score_chunk(project: Project, scores: dict[int, float]) -> int:
    comparisons = list(Comparison.objects.filter(project=project, pk__in=scores).order_by("pk"))
    for comparison in comparisons:
        comparison.score = float(scores[comparison.pk])
    Comparison.objects.bulk_update(comparisons, ["score"])
    stored = Comparison.objects.filter(pk=OuterRef("comparison_id")).values("score")
    slots = Slot.objects.of_work().filter(comparison__in=comparisons).exclude(state=Slot.State.DONE)
    slots.update(score=Subquery(stored))
    return len(comparisons)
