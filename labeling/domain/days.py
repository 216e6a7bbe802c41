"""How many judgments a project gets a day, of all its labelers together, and the columns that show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Case, Count, IntegerField, Value, When
from django.utils import timezone

from labeling.domain.history import span_day
from labeling.models import Judgment, Membership, Project

DAYS = 28
WIDTH, HEIGHT = 20, 100  # of a column and of the drawing, in SVG units


@dataclass(frozen=True, kw_only=True)
class Column:
    """One day's column. is_marked: the day is written under it."""

    day: date
    n: int
    left: int
    height: int
    is_marked: bool

    @property
    def top(self) -> int:
        return HEIGHT - self.height

    @property
    def middle(self) -> int:
        return self.left + WIDTH // 2


def count_days(project: Project) -> dict[date, int]:
    """Return how many comparisons were judged on each of the last days with any, probes and revisions left out.

    Members' judgments are counted along the index of each labeler's days: what it costs is what was judged lately.
    """
    days = list_days(timezone.localdate())
    starts = [(number, span_day(day)[0]) for number, day in enumerate(days)]
    later = [When(submitted_at__gte=start, then=Value(number)) for number, start in reversed(starts)]
    members = list(Membership.objects.filter(project=project).values_list("user", flat=True))
    judged = Judgment.objects.filter(labeler__in=members, revises__isnull=True, submitted_at__gte=starts[0][1])
    counted = (
        judged.of_project(project)
        .of_work()
        .annotate(day=Case(*later, output_field=IntegerField()))
        .values_list("day")
        .annotate(n=Count("id"))
        .order_by()
    )
    return {days[number]: n for number, n in counted}


def list_days(today: date) -> list[date]:
    return [today - timedelta(days=back) for back in reversed(range(DAYS))]


def draw_days(counts: dict[date, int], today: date) -> list[Column]:
    """Return a column for each of the last days; the best is as high as the drawing, and one judgment is seen."""
    most = max(counts.values(), default=0)
    return [
        Column(
            day=day,
            n=counts.get(day, 0),
            left=number * WIDTH,
            height=max(2, round(HEIGHT * counts[day] / most)) if counts.get(day) else 0,
            is_marked=(DAYS - 1 - number) % 7 == 0,
        )
        for number, day in enumerate(list_days(today))
    ]
