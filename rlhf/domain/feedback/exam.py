"""The exam an annotator takes before its labels may enter a dataset: does it agree with people as people do?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from django.db import transaction

from labeling.domain.audit import record_event
from labeling.models import Comparison, Gold, Judgment, User
from rlhf.domain.errors import NotReady
from rlhf.models import AIJudgment, Annotator

LEAST_ITEMS = 200
MAX_BEHIND = 0.02  # how far it may agree less with people than they do among themselves
MAX_FLIPS = 0.10
MAX_LENGTH_GAP = 0.05


@dataclass(frozen=True)
class Item:
    """A comparison both were asked about. strengths: people's, -3 (A) .. +3 (B); longer: -1 A, 1 B, 0 neither.

    p: that A is the better one by the annotator.
    """

    strengths: tuple[int, ...]
    p: float
    is_flip: bool
    longer: int


@dataclass(frozen=True, kw_only=True)
class ExamResult:
    """What the exam found. agreement, people: shares in [0, 1], of pairs of votes that name a winner each.

    length_gap: how much more often the annotator prefers the longer completion than people do.
    """

    n_items: int
    agreement: float
    people: float
    flips: float
    length_gap: float
    failures: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        return not self.failures


def take_exam(annotator: Annotator, *, user: User | None = None, least_items: int = LEAST_ITEMS) -> ExamResult:
    """Grade an annotator by what people said of the same comparisons, gold or judged twice or more; store the result.

    Writes an audit event. Raises: NotReady when there is too little to grade it by.
    """
    items = list_items(annotator)
    if len(items) < least_items:
        raise NotReady(
            f"{annotator} and two people, or gold, have judged {len(items)} comparisons alike; an exam needs "
            f"{least_items}: judge more of them, or ask it about those that are judged"
        )
    result = grade_items(items)
    with transaction.atomic():
        state = Annotator.Exam.PASSED if result.is_passed else Annotator.Exam.FAILED
        Annotator.objects.filter(pk=annotator.pk).update(exam=state, exam_result=asdict(result))
        record_event("annotator.exam", annotator, actor=user, project=annotator.project, after={"exam": str(state)})
    annotator.refresh_from_db()
    return result


def list_exam_comparisons(annotator: Annotator) -> list[Comparison]:
    """Return what the annotator should be asked about before its exam: gold, and what two people judged."""
    asked = AIJudgment.objects.filter(annotator=annotator).values("comparison")
    ids = set(read_people(annotator)) - set(asked.values_list("comparison", flat=True))
    return list(Comparison.objects.with_texts().filter(pk__in=ids).order_by("pk"))


def read_people(annotator: Annotator) -> dict[int, tuple[int, ...]]:
    """Return people's strengths on each comparison that can grade: gold, and those two people judged."""
    votes: dict[int, list[int]] = defaultdict(list)
    judgments = Judgment.objects.of_project(annotator.project).current().of_work()
    for comparison, strength in judgments.values_list("comparison", "strength").iterator():
        votes[comparison].append(strength)
    found = {pk: tuple(strengths) for pk, strengths in votes.items() if len(strengths) > 1}
    gold = Gold.objects.filter(comparison__project=annotator.project, is_active=True)
    for comparison, low, high in gold.values_list("comparison", "strength_min", "strength_max"):
        found[comparison] = (low, high)
    return found


def list_items(annotator: Annotator) -> list[Item]:
    """Return what both the annotator and people have judged."""
    people = read_people(annotator)
    said = AIJudgment.objects.filter(annotator=annotator, comparison__in=list(people))
    texts = said.values_list(
        "comparison", "p", "is_flip", "comparison__completion_a__text", "comparison__completion_b__text"
    )
    return [
        Item(people[pk], p, is_flip, (len(b) > len(a)) - (len(b) < len(a))) for pk, p, is_flip, a, b in texts.iterator()
    ]


def grade_items(items: Sequence[Item]) -> ExamResult:
    """Return the figures of an exam and where they miss their limits.

    Ties take no part: agreement is that of a vote with a winner and an annotator's choice, or another such vote.
    """
    chosen = [(item, choose(item)) for item in items]
    with_annotator = [
        same for item, choice in chosen for strength in item.strengths if (same := agrees(strength, choice)) is not None
    ]
    among_people = [
        same
        for item in items
        for number, first in enumerate(item.strengths)
        for second in item.strengths[number + 1 :]
        if (same := agrees(first, second)) is not None
    ]
    figures = {
        "agreement": mean(with_annotator),
        "people": mean(among_people),
        "flips": mean(item.is_flip for item in items),
        "length_gap": measure_length_gap(chosen),
    }
    return ExamResult(n_items=len(items), failures=tuple(list_failures(figures)), **figures)


def choose(item: Item) -> int:
    """Return the annotator's winner, -1 (A) or 1 (B), 0 for none."""
    return (item.p < 0.5) - (item.p > 0.5)


def agrees(first: int, second: int) -> bool | None:
    """Say whether two name the same winner; None where one names none."""
    return None if first == 0 or second == 0 else (first > 0) == (second > 0)


def measure_length_gap(chosen: Iterable[tuple[Item, int]]) -> float:
    """Return the annotator's share of choices for the longer completion, less people's."""
    pairs = [(item, choice) for item, choice in chosen if item.longer]
    ours = [choice == item.longer for item, choice in pairs if choice]
    people = [
        (strength > 0) - (strength < 0) == item.longer for item, _ in pairs for strength in item.strengths if strength
    ]
    return mean(ours) - mean(people)


def list_failures(figures: Mapping[str, float]) -> list[str]:
    """Return what an annotator fails by, in words with figures."""
    failures = []
    if figures["agreement"] < figures["people"] - MAX_BEHIND:
        failures.append(
            f"agrees with people in {figures['agreement']:.1%}, they among themselves in {figures['people']:.1%}: "
            f"at most {100 * MAX_BEHIND:.0f} points less are allowed"
        )
    if figures["flips"] >= MAX_FLIPS:
        failures.append(f"changes its mind with the order in {figures['flips']:.1%}: under {MAX_FLIPS:.0%} are allowed")
    if abs(figures["length_gap"]) > MAX_LENGTH_GAP:
        failures.append(
            f"prefers the longer completion {100 * figures['length_gap']:+.1f} points more often than people: "
            f"{100 * MAX_LENGTH_GAP:.0f} either way are allowed"
        )
    return failures


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
