"""What was judged week by week: how often labelers see no difference, and how one labeler fares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Count, F, IntegerField, Max, Min, Q, Value, When
from django.utils import timezone

from labeling.domain.gold import right_answers
from labeling.domain.votes import is_quarantined
from labeling.models import Judgment, Project, Reason, User
from labeling.querysets import JudgmentQuerySet

SHOWN = 26  # half a year; what is older is no news


@dataclass(frozen=True, kw_only=True)
class Week:
    """Counts of a week's judgments as they stand. start: its Monday; n_slight counts ties too.

    n_bad of them name no winner because both are bad, which is no tie.
    """

    start: datetime
    n: int = 0
    n_ties: int = 0
    n_slight: int = 0
    n_left: int = 0
    n_gold: int = 0
    n_right: int = 0
    n_bad: int = 0

    @property
    def n_compared(self) -> int:
        """Judgments that tell how close the completions are: that both are bad does not."""
        return self.n - self.n_bad

    @property
    def n_decided(self) -> int:
        return self.n_compared - self.n_ties


def count_project(project: Project) -> list[Week]:
    """Return the project's weeks with work in them or between them, the last half year of them; without quarantined."""
    return count_weeks(Judgment.objects.of_project(project).exclude(is_quarantined()))


def count_labeler(project: Project, labeler: User) -> list[Week]:
    """Return one labeler's weeks."""
    return count_weeks(Judgment.objects.of_project(project).filter(labeler=labeler))


def count_weeks(judgments: JudgmentQuerySet) -> list[Week]:
    """Count judgments by week in one pass; weeks are told apart by comparing, which every database does fast."""
    spans = judgments.order_by().aggregate(first=Min("submitted_at"), last=Max("submitted_at"))
    if spans["first"] is None:
        return []
    starts = list_mondays(spans["first"], spans["last"])
    later = [When(submitted_at__gte=start, then=Value(number)) for number, start in reversed(list(enumerate(starts)))]
    is_left = Q(strength__lt=0, a_shown_left=True) | Q(strength__gt=0, a_shown_left=False)
    is_work = ~Q(reason__in=[Reason.GOLD, Reason.REPEAT, Reason.EXAM])
    is_bad = Q(strength=0, both_bad=True)
    is_gold = Q(reason=Reason.GOLD, comparison__gold__is_active=True)
    rows = (
        judgments.current()
        .filter(submitted_at__gte=starts[0])
        .annotate(week=Case(*later, output_field=IntegerField()))
        .values("week")
        .annotate(
            n=Count("id", filter=is_work),
            n_ties=Count("id", filter=is_work & ~is_bad & Q(strength=0)),
            n_slight=Count("id", filter=is_work & ~is_bad & Q(strength__gte=-1, strength__lte=1)),
            n_bad=Count("id", filter=is_work & is_bad),
            n_left=Count("id", filter=is_work & is_left),
            n_gold=Count("id", filter=is_gold),
            n_right=Count("id", filter=is_gold & right_answers()),
        )
        .order_by(F("week"))
    )
    counted = {row.pop("week"): row for row in rows}
    return [Week(start=start, **counted.get(number, {})) for number, start in enumerate(starts)]


def list_mondays(first: datetime, last: datetime) -> Sequence[datetime]:
    """Return the Mondays, at midnight, from the one before `first` to the one before `last`; at most the newest SHOWN."""
    newest = find_monday(last)
    n = min(SHOWN, (newest.date() - find_monday(first).date()).days // 7 + 1)
    return [find_monday(newest - timedelta(weeks=back, hours=-12)) for back in reversed(range(n))]


def find_monday(at: datetime) -> datetime:
    """Return the midnight with which the week of a moment began, in local time."""
    local = timezone.localtime(at)
    return (local - timedelta(days=local.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
