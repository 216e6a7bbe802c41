"""Comparisons whose right answer is known, and how labelers fare on them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.content import check_text
from labeling.domain.errors import InvalidGold
from labeling.domain.overlap import shut_slots
from labeling.models import Comparison, Gold, Judgment, Project, Reason, User
from labeling.models.scales import FORCED, to_seven


@transaction.atomic
def make_gold(
    comparison: Comparison,
    actor: User,
    *,
    strength_min: int,
    strength_max: int,
    explanation: str = "",
    is_exam: bool = False,
) -> Gold:
    """Say what is right of a comparison and take it out of the ordinary queue; said again, it replaces what was said."""
    if not -3 <= strength_min <= strength_max <= 3:
        raise InvalidGold(_("Give the least and the greatest strength that are right, from -3 to 3, the least first."))
    if strength_min == -3 and strength_max == 3:
        raise InvalidGold(_("If every answer is right, this measures nobody: leave out what is wrong."))
    facts = {
        "strength_min": strength_min,
        "strength_max": strength_max,
        "explanation": check_text(explanation, what=_("the explanation")),
        "is_exam": is_exam,
        "is_active": True,
    }
    before = Gold.objects.filter(comparison=comparison).values(*facts).first()
    gold, _is_new = Gold.objects.update_or_create(comparison=comparison, defaults=facts)
    shut_slots([comparison.pk])
    record_event("gold.make", comparison, actor=actor, project=comparison.project, before=before, after=facts)
    return gold


@transaction.atomic
def drop_gold(gold: Gold, actor: User) -> Gold:
    """Slip it in no more and count no answer to it; the comparison stays out of the queue, for some have seen it."""
    if Gold.objects.filter(pk=gold.pk, is_active=True).update(is_active=False):
        comparison = gold.comparison
        record_event("gold.drop", comparison, actor=actor, project=comparison.project, before={"is_active": True})
    gold.refresh_from_db()
    return gold


def is_right(gold: Gold, strength: int, *, scale: str = Project.Scale.SEVEN) -> bool:
    """Say whether an answer is right: on seven steps it lies in the range; one key says only which one is better.

    So on the quick scale an answer is right if any strength of the range names the same winner, or a tie. On a forced
    one the step nearest to it has to lie in the range; the innermost steps are also how one says "about the same" there.
    """
    low, high = gold.strength_min, gold.strength_max
    if scale in FORCED and abs(strength) == 1 and low <= 0 <= high:
        return True
    if scale == Project.Scale.QUICK:
        return low < 0 if strength < 0 else high > 0 if strength > 0 else low <= 0 <= high
    return low <= to_seven(strength, scale) <= high


def right_answers() -> Q:
    """Return the condition under which a judgment of a gold comparison is right: is_right, in the database."""
    low, high = "comparison__gold__strength_min", "comparison__gold__strength_max"
    in_range = Q(strength__gte=F(low), strength__lte=F(high))
    nearest = (  # scales.to_seven
        (Q(strength__lte=-2) & Q(strength__gte=F(low) - 1, strength__lte=F(high) - 1))
        | (Q(strength__gte=2) & Q(strength__gte=F(low) + 1, strength__lte=F(high) + 1))
        | (Q(strength__in=[-1, 1]) & (in_range | Q(**{f"{low}__lte": 0, f"{high}__gte": 0})))
    )
    same_winner = (
        Q(strength__lt=0, **{f"{low}__lt": 0})
        | Q(strength__gt=0, **{f"{high}__gt": 0})
        | Q(strength=0, **{f"{low}__lte": 0, f"{high}__gte": 0})
    )
    is_quick, is_forced = Q(scale=Project.Scale.QUICK), Q(scale__in=[str(scale) for scale in FORCED])
    return (is_quick & same_winner) | (is_forced & nearest) | (~is_quick & ~is_forced & in_range)


def score_gold(labeler: User, project: Project) -> tuple[int, int]:
    """Return how many of her gold judgments are right, and of how many: as they stand, and of gold that was not dropped."""
    judged = Judgment.objects.of_project(project).current().filter(labeler=labeler, reason=Reason.GOLD)
    counts: dict[str, Any] = judged.filter(comparison__gold__is_active=True).aggregate(
        n_right=Count("id", filter=right_answers()), n=Count("id")
    )
    return counts["n_right"], counts["n"]
