"""The exam an annotator takes before its labels may enter a dataset: does it agree with people as people do?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from django.db import transaction

from labeling.domain.audit import record_event
from labeling.models import Comparison, Gold, Judgment, Membership, User
from rlhf.domain.errors import NotReady
from rlhf.models import AIJudgment, Annotator

LEAST_ITEMS = 200  # comparisons of which both the annotator and people, or gold, name a winner
LEAST_PAIRS = 100  # pairs of people's votes on one comparison, each with a winner: what the annotator is held to
MAX_BEHIND = 0.02  # how far it may agree less with people than they do among themselves
MAX_FLIPS = 0.10
MAX_LENGTH_GAP = 0.05
MAX_ASKED = 5000
CHUNK = 500


@dataclass(frozen=True)
class Item:
    """A comparison both were asked about. strengths: people's, -3 (A) .. +3 (B); longer: -1 A, 1 B, 0 neither.

    p: that A is the better one by the annotator. gold: the winner where it is known, as longer.
    """

    strengths: tuple[int, ...]
    p: float
    is_flip: bool
    longer: int
    gold: int = 0

    @property
    def is_decided(self) -> bool:
        """Whether the annotator and somebody else name a winner."""
        return self.p != 0.5 and (self.gold != 0 or any(self.strengths))


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


def take_exam(
    annotator: Annotator, *, user: User | None = None, least_items: int = LEAST_ITEMS, least_pairs: int = LEAST_PAIRS
) -> ExamResult:
    """Grade an annotator by what people said of the same comparisons, and by gold; store the result.

    Writes an audit event. Raises: NotReady when there is too little to grade it by, or it is asked in one order only.
    """
    if not annotator.both_orders:
        raise NotReady(
            f"{annotator} is asked in one order, so nobody knows what order does to it: add it with orders=both"
        )
    items = list_items(annotator)
    n_decided, n_pairs = sum(item.is_decided for item in items), len(list(pair_votes(items)))
    if n_decided < least_items or n_pairs < least_pairs:
        raise NotReady(
            f"{annotator} and people, or gold, name a winner of {n_decided} comparisons, and people of {n_pairs} pairs of "
            f"votes on one; an exam needs {least_items} and {least_pairs}: ask it about what is judged, or judge more twice"
        )
    result = grade_items(items)
    with transaction.atomic():
        state = Annotator.Exam.PASSED if result.is_passed else Annotator.Exam.FAILED
        Annotator.objects.filter(pk=annotator.pk).update(exam=state, exam_result=asdict(result))
        record_event("annotator.exam", annotator, actor=user, project=annotator.project, after={"exam": str(state)})
    annotator.refresh_from_db()
    return result


def list_exam_comparisons(annotator: Annotator, *, n: int = MAX_ASKED) -> list[Comparison]:
    """Return up to n comparisons the annotator should be asked about before its exam: gold, and what two people judged."""
    asked = AIJudgment.objects.filter(annotator=annotator).values_list("comparison", flat=True)
    known = set(read_people(annotator)) | set(read_gold(annotator))
    ids = sorted(known - set(asked.iterator()))[:n]
    found: dict[int, Comparison] = {}
    for start in range(0, len(ids), CHUNK):
        found |= Comparison.objects.with_texts().in_bulk(ids[start : start + CHUNK])
    return [found[pk] for pk in ids]


def read_people(annotator: Annotator) -> dict[int, tuple[int, ...]]:
    """Return people's strengths on each comparison that two of them judged; nobody's in quarantine count."""
    suspects = Membership.objects.filter(project=annotator.project, is_quarantined=True).values("user")
    judgments = Judgment.objects.of_project(annotator.project).current().of_work().exclude(labeler__in=suspects)
    votes: dict[int, list[int]] = defaultdict(list)
    for comparison, strength in judgments.values_list("comparison", "strength").iterator():
        votes[comparison].append(strength)
    return {pk: tuple(strengths) for pk, strengths in votes.items() if len(strengths) > 1}


def read_gold(annotator: Annotator) -> dict[int, int]:
    """Return the known winner of each gold comparison that has one: -1 A, 1 B."""
    gold = Gold.objects.filter(comparison__project=annotator.project, is_active=True)
    ranges = gold.values_list("comparison", "strength_min", "strength_max")
    winners = {comparison: (low > 0) - (high < 0) for comparison, low, high in ranges.iterator()}
    return {comparison: winner for comparison, winner in winners.items() if winner}


def list_items(annotator: Annotator) -> list[Item]:
    """Return what both the annotator and people, or gold, have judged."""
    people, gold = read_people(annotator), read_gold(annotator)
    said = AIJudgment.objects.filter(annotator=annotator).values_list(
        "comparison", "p", "is_flip", "comparison__completion_a__text", "comparison__completion_b__text"
    )
    return [
        Item(people.get(pk, ()), p, is_flip, (len(b) > len(a)) - (len(b) < len(a)), gold.get(pk, 0))
        for pk, p, is_flip, a, b in said.iterator()
        if pk in people or pk in gold
    ]


def pair_votes(items: Iterable[Item]) -> Iterator[bool]:
    """Yield of every two votes on one comparison that name a winner each whether it is the same one."""
    for item in items:
        for number, first in enumerate(item.strengths):
            for second in item.strengths[number + 1 :]:
                if (same := agrees(first, second)) is not None:
                    yield same


def grade_items(items: Sequence[Item]) -> ExamResult:
    """Return the figures of an exam and where they miss their limits.

    Ties take no part: agreement is that of a vote with a winner and an annotator's choice, or another such vote.
    """
    chosen = [(item, choose(item)) for item in items]
    with_annotator = [
        same
        for item, choice in chosen
        for strength in (*item.strengths, item.gold)
        if (same := agrees(strength, choice)) is not None
    ]
    figures = {
        "agreement": mean(with_annotator),
        "people": mean(pair_votes(items)),
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
