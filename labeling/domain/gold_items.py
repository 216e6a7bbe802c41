"""How each gold comparison fares among labelers, and which judged comparisons could become gold."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from labeling.domain.gold import right_answers
from labeling.domain.votes import is_quarantined, is_sent_back
from labeling.models import Comparison, Gold, Judgment, Project, Reason
from labeling.models.scales import to_seven

# Below this share of right answers among honest labelers the item is more likely wrong than they are.
DOUBTED_SHARE = 0.5
DOUBTED_FROM = 3
# A comparison may become gold when this many labelers name the same winner, each at least this strongly.
UNANIMOUS_FROM = 3
UNANIMOUS_STRENGTH = 2
RECENT = 5000


@dataclass(frozen=True, kw_only=True)
class GoldItem:
    """A gold comparison and how many labelers met it; honest are those not in quarantine."""

    gold: Gold
    n: int
    n_right: int
    n_honest: int
    n_honest_right: int

    @property
    def share(self) -> float | None:
        return self.n_right / self.n if self.n else None

    @property
    def is_doubtful(self) -> bool:
        """Most honest labelers answer otherwise: the item may be wrong, or asks what cannot be known."""
        return self.n_honest >= DOUBTED_FROM and self.n_honest_right < DOUBTED_SHARE * self.n_honest


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A judged comparison all of whose labelers clearly agree. strength: their mean's sign, -2 or 2."""

    comparison: Comparison
    n: int
    strength: int


def list_gold(project: Project, *, before: int | None = None, n: int = 50) -> list[GoldItem]:
    """Return gold in use, newest first, from below the id `before`, with how labelers fare; in two queries."""
    rows = Gold.objects.filter(comparison__project=project, is_active=True).select_related("comparison__prompt")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-id")[:n])
    counts = count_answers([gold.comparison_id for gold in found])
    nothing = {"n": 0, "n_right": 0, "n_honest": 0, "n_honest_right": 0}
    return [GoldItem(gold=gold, **counts.get(gold.comparison_id, nothing)) for gold in found]


def count_answers(comparisons: list[int]) -> dict[int, dict[str, int]]:
    """Return how many answered each gold comparison, at work or in an exam, and how many rightly."""
    answers = Judgment.objects.current().filter(comparison__in=comparisons, reason__in=[Reason.GOLD, Reason.EXAM])
    is_honest = ~Q(is_suspect=True)
    rows = (
        answers.annotate(is_suspect=is_quarantined())
        .values("comparison")
        .annotate(
            n=Count("id"),
            n_right=Count("id", filter=right_answers()),
            n_honest=Count("id", filter=is_honest),
            n_honest_right=Count("id", filter=is_honest & right_answers()),
        )
        .order_by("comparison")
    )
    counts: dict[int, dict[str, int]] = {}
    for row in rows:
        counts[row["comparison"]] = {name: row[name] for name in ("n", "n_right", "n_honest", "n_honest_right")}  # type: ignore[literal-required]
    return counts


def suggest_gold(project: Project, *, n: int = 10) -> list[Suggestion]:
    """Return comparisons judged lately on which enough labelers clearly agree and that are no gold yet.

    What those in quarantine said, and what was said before a comparison was sent back, names no gold.
    """
    recent = (
        Judgment.objects.of_project(project).of_work().order_by("-id").values_list("comparison", flat=True)[:RECENT]
    )
    agreed = Comparison.objects.filter(
        pk__in=set(recent), n_judgments__gte=UNANIMOUS_FROM, spread__lte=1, is_split=False, gold__isnull=True
    ).exclude(state=Comparison.State.RETIRED)
    candidates = {row.pk: row for row in agreed.select_related("prompt").order_by("-n_judgments", "id")[: 10 * n]}
    said: dict[int, list[int]] = {}
    judged = Judgment.objects.current().of_work().filter(comparison__in=list(candidates))
    judged = judged.exclude(is_quarantined() | is_sent_back())
    for comparison, strength, scale in judged.values_list("comparison", "strength", "scale"):
        said.setdefault(comparison, []).append(to_seven(strength, scale))
    clear = [pk for pk in candidates if is_clear(said.get(pk, []))]
    return [
        Suggestion(comparison=candidates[pk], n=len(said[pk]), strength=2 if said[pk][0] > 0 else -2)
        for pk in clear[:n]
    ]


def is_clear(strengths: list[int]) -> bool:
    """Say whether enough labelers name the same winner, each at least clearly."""
    low, high = min(strengths, default=0), max(strengths, default=0)
    return len(strengths) >= UNANIMOUS_FROM and (low >= UNANIMOUS_STRENGTH or high <= -UNANIMOUS_STRENGTH)
