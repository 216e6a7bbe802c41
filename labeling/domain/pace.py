"""How a labeler gets on: judgments by day, how long one takes, how often she agreed. Totals only, and her own only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from labeling.domain.gold import right_answers
from labeling.domain.history import find_floor, span_day
from labeling.models import Judgment, Project, Reason, User
from labeling.querysets import JudgmentQuerySet

DAYS = 7
# Below this many a share says nothing of her, and something of a single pair.
MIN_PROBES = 20
# So many of her last ones came sooner than anyone could have read them; one alone may have been an easy pair.
HURRIED, HURRIED_OF = 3, 10
BAR_HEIGHT = 80
BAR_PITCH = 40


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One day's column, in SVG units; every one stands on the same floor."""

    day: date
    n: int
    left: int
    height: int

    @property
    def middle(self) -> int:
        return self.left + BAR_PITCH // 2

    @property
    def top(self) -> int:
        return BAR_HEIGHT - self.height


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Her last seven days. seconds: of work a judgment took her in that time; None where no time was measured."""

    today: int
    week: int
    bars: list[Bar]
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many."""

    n_agreed: int
    n: int

    @property
    def percent(self) -> int:
        return round(100 * self.n_agreed / self.n)


def measure_pace(project: Project, labeler: User) -> Pace:
    """Return what she judged in this project in the last seven days; a revision is no second judgment."""
    today = timezone.localdate()
    first, _ = span_day(today - timedelta(days=DAYS - 1))
    own = Judgment.objects.of_project(project).filter(labeler=labeler, revises__isnull=True, submitted_at__gte=first)
    days = {
        row["day"]: row
        for row in own.annotate(day=TruncDate("submitted_at"))
        .values("day")
        .annotate(n=Count("id"), n_timed=Count("id", filter=Q(active_ms__gt=0)), ms=Sum("active_ms"))
        .order_by()
    }
    n_timed = sum(row["n_timed"] for row in days.values())
    counts = {day: row["n"] for day, row in days.items()}
    return Pace(
        today=counts.get(today, 0),
        week=sum(counts.values()),
        bars=draw_week(counts, today),
        seconds=sum(row["ms"] for row in days.values()) / 1000 / n_timed if n_timed else None,
    )


def draw_week(counts: Mapping[date, int], today: date) -> list[Bar]:
    """Return the columns of seven days, today last; the best day is as high as the drawing, and one judgment is seen."""
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    most = max((counts.get(day, 0) for day in days), default=0)
    return [
        Bar(day=day, n=n, left=number * BAR_PITCH, height=max(2, round(BAR_HEIGHT * n / most)) if n else 0)
        for number, day in enumerate(days)
        for n in [counts.get(day, 0)]
    ]


def measure_known(project: Project, labeler: User) -> Share | None:
    """Return how often she agreed with the known answers; None while there are too few to say."""
    judged = find_probes(project, labeler, Reason.GOLD).filter(comparison__gold__is_active=True)
    counts = judged.aggregate(n_agreed=Count("id", filter=right_answers()), n=Count("id"))
    return Share(**counts) if counts["n"] >= MIN_PROBES else None


def measure_own(project: Project, labeler: User) -> Share | None:
    """Return how often she said the same again of a pair she had judged before; None while there are too few to say."""
    again = dict(find_probes(project, labeler, Reason.REPEAT).values_list("comparison", "verdict"))
    if len(again) < MIN_PROBES:
        return None
    before = Judgment.objects.filter(labeler=labeler, comparison__in=again).exclude(reason=Reason.REPEAT).current()
    said = list(before.values_list("comparison", "verdict"))
    return Share(n_agreed=sum(again[comparison] == verdict for comparison, verdict in said), n=len(said))


def find_probes(project: Project, labeler: User, reason: Reason) -> JudgmentQuerySet:
    """Return her latest probes as they stand, those of today left out.

    A figure that moved with a vote would tell which pair was a probe, and whether she was right.
    """
    own = Judgment.objects.filter(labeler=labeler)
    midnight, _ = span_day(timezone.localdate())
    recent = own.filter(pk__gte=find_floor(own)).of_project(project).current()
    return recent.filter(reason=reason, submitted_at__lt=midnight)


def is_hurrying(judgment: Judgment) -> bool:
    """Say whether a vote came sooner than anyone could have read the texts, and others of her last ones did so too."""
    if not judgment.is_hasty:
        return False
    newest = Judgment.objects.filter(labeler=judgment.labeler_id, pk__lte=judgment.pk).order_by("-pk")  # type: ignore[attr-defined]
    return sum(newest.values_list("is_hasty", flat=True)[:HURRIED_OF]) >= HURRIED
