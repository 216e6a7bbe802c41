"""What a labeler is given next: exam, gold, repeats, a random control share, and the project's own order of work.

A strategy is a function from a turn to the slot it would give, or None; they are tried in an order drawn for each
claim, and one that has nothing leaves it to the next. Shares are of all claims: gold_share, repeat_share, and
random_share of the rest's making, so that chance keeps its share whatever the strategy.

reason and propensity are written on the slot as it is claimed, and from there on the judgment. The propensity of work
is the probability of the arm that picked it, among claims of work, times the one with which the comparison was
proposed. Where both arms would have picked alike - by priority, and this one has none - the arm does not weigh, and
the reason stays the one for which it was proposed; so it does when chance picked. Otherwise the reason is priority,
or active when the score decided. The propensity of a probe is its share of claims; an exam's is 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from labeling.domain.errors import InvalidContent
from labeling.domain.idling import list_opened, remember_walk
from labeling.models import Comparison, Gold, Judgment, Membership, Project, Reason, Skip, Slice, Slot, User
from labeling.querysets import SlotQuerySet, is_open_to
from labeling.statements import compiled

CHUNK = 500
TEXTS = ("comparison__prompt", "comparison__completion_a", "comparison__completion_b")
RNG = random.Random()  # every draw of a claim; tests seed it

# All slots of one query are of one slice, or of none: naming it first only tells PostgreSQL that an index is in order.
RANDOM_ORDER = ("slice_id", "number", "shuffle", "id")
ORDERS = {
    Project.Strategy.PRIORITY: ("slice_id", "number", "-priority", "shuffle", "id"),
    Project.Strategy.SCORE: ("slice_id", "number", "-score", "shuffle", "id"),
}


@dataclass(frozen=True)
class Turn:
    """Someone asks for a comparison."""

    project: Project
    labeler: User
    membership: Membership
    has_slices: bool = True
    is_holding: bool = True  # as far as was seen before her other tabs had their turn


Strategy = Callable[[Turn], Slot | None]


def select_slot(turn: Turn) -> Slot | None:
    """Return the slot the labeler may be given, with texts, reason and propensity; a probe's is not stored yet.

    Its shown_at is the database's time of looking. On PostgreSQL a stored slot is locked, and passed over by others.
    """
    return next(filter(None, (strategy(turn) for strategy in draw_strategies(turn))), None)


def draw_strategies(turn: Turn) -> list[Strategy]:
    """Return the strategies to try, in order."""
    project = turn.project
    if project.is_archived:
        return []
    if project.exam_size > 0 and turn.membership.exam == Membership.Exam.FAILED:
        return []
    if project.exam_size > 0 and turn.membership.exam == Membership.Exam.OPEN:
        return [find_exam]
    drawn = RNG.random()
    work = find_random if RNG.random() < random_share_of_work(project) else find_best
    if drawn < project.gold_share:
        return [find_gold, work]
    if drawn < project.gold_share + project.repeat_share:
        return [find_repeat, work]
    return [work]


def random_share_of_work(project: Project) -> float:
    """Return how likely chance picks when work is claimed, so that it picks random_share of all claims."""
    work_share = 1 - project.gold_share - project.repeat_share
    return 1.0 if project.random_share >= work_share else project.random_share / work_share


def find_random(turn: Turn) -> Slot | None:
    """The control: what nobody chose."""
    slot = find_work(turn, RANDOM_ORDER)
    if slot and not (slot.priority == 0 and turn.project.strategy == Project.Strategy.PRIORITY):
        slot.propensity *= random_share_of_work(turn.project)
    return slot


def find_best(turn: Turn) -> Slot | None:
    """The project's own order: by priority, or by score."""
    slot = find_work(turn, ORDERS[Project.Strategy(turn.project.strategy)])
    if slot and turn.project.strategy == Project.Strategy.SCORE:
        slot.reason = Reason.ACTIVE
    elif slot and slot.priority != 0:
        slot.reason = Reason.PRIORITY
    else:
        return slot
    slot.propensity *= 1 - random_share_of_work(turn.project)
    return slot


def find_work(turn: Turn, order: tuple[str, ...]) -> Slot | None:
    """Return the first slot in this order that she may be given, of the slices she judges.

    Where there was none a while ago, only what was opened since is looked at; see idling.
    """
    slices = list_slices(turn)
    key = (turn.project.pk, turn.labeler.pk, None if slices is None else tuple(slices))
    opened, started_at = list_opened(key), timezone.now()
    if opened is not None:
        return take(lock_first(list_hers(turn, slices).filter(pk__in=opened).order_by(*order)), turn)
    slot = walk_queue(turn, slices, order)
    # The walk passes over what others have locked, and may yet let go of.
    if slot is None and not list_hers(turn, slices).filter(project=turn.project).exists():
        remember_walk(key, at=started_at)
    return slot


def list_hers(turn: Turn, slices: list[int] | None) -> SlotQuerySet:
    """Return the slots she may be given, of these slices. To build it takes longer than the walk: not for every claim."""
    hers: SlotQuerySet = Slot.objects.claimable_by(turn.labeler).filter(is_sliced(slices))
    return hers


def is_sliced(slices: list[int] | None) -> Q:
    """Return the condition under which a slot is of one of these slices, or of none."""
    return Q() if slices is None else Q(slice=None) | Q(slice__in=slices)


def walk_queue(turn: Turn, slices: list[int] | None, order: tuple[str, ...]) -> Slot | None:
    """Return the first of all slots in this order that she may be given.

    A slice is probed once, in its own stretch of the index; what is cheap with one slice is with fifty.
    """
    if slices is None:
        return take(list_unsliced(turn.project.pk, turn.labeler.pk, order=order), turn)
    slots = Slot.objects.filter(project=turn.project).claimable_by(turn.labeler).order_by(*order)
    probes = Slice.objects.filter(pk__in=slices).values(
        first=Subquery(slots.filter(slice=OuterRef("pk")).values("pk")[:1])
    )
    ranked = Slot.objects.order_by(*order[1:])
    heads = [ranked.filter(pk__in=probes).first(), slots.filter(slice=None).first()]
    found = [head.pk for head in heads if head]
    best = ranked.filter(pk__in=found).first() if len(found) > 1 else next(filter(None, heads), None)
    return take(lock_first(slots.filter(slice=best.slice_id)), turn) if best else None


@compiled
def list_unsliced(project: Any, labeler: Any, *, order: tuple[str, ...]) -> SlotQuerySet:
    """The first slot of no slice, of a project that has none."""
    return lock_first(Slot.objects.filter(project=project, slice=None).claimable_by(labeler).order_by(*order))


def lock_first(slots: SlotQuerySet) -> SlotQuerySet:
    """The first slot with its texts; on PostgreSQL locked, with those others look at passed over."""
    first: SlotQuerySet = slots.select_for_update(skip_locked=True, of=("self",)).select_related(*TEXTS)
    return first.annotate(clock=Now())[:1]


def take(slots: Iterable[Slot], turn: Turn) -> Slot | None:
    """Return the slot there is, as it is given now.

    A slot given back still says why it was given: a late vote is stored with that. Given anew, it is as proposed.
    """
    for slot in slots:
        slot.project = turn.project
        slot.shown_at = slot.clock  # type: ignore[attr-defined]
        slot.reason, slot.propensity = slot.comparison.reason, slot.comparison.propensity
        return slot
    return None


def list_slices(turn: Turn) -> list[int] | None:
    """Return the slices whose prompts she may be given, besides prompts of none; None when the project has no slices."""
    if not turn.has_slices:
        return None
    slices = list(Slice.objects.filter(project=turn.project).order_by())
    return [row.pk for row in slices if may_judge(turn.membership, row)]


def may_judge(membership: Membership, row: Slice) -> bool:
    """Say whether the member reads the language, has the skill, and has not opted out."""
    reads = not row.language or not membership.languages or row.language in membership.languages
    skilled = not row.name or not membership.slices or row.name in membership.slices
    return reads and skilled and row.name not in membership.declined


def find_exam(turn: Turn) -> Slot | None:
    """A question of the exam, while questions are wanted and there is one she has not seen."""
    held = Slot.objects.held_by(turn.labeler).filter(project=turn.project, reason=Reason.EXAM)
    judged = Judgment.objects.of_project(turn.project).filter(
        labeler=turn.labeler, pk__gt=turn.membership.exam_from, reason=Reason.EXAM, revises=None
    )
    if held.count() + judged.count() >= turn.project.exam_size:
        return None
    return make_probe(turn, draw_gold(turn, is_exam=True), reason=Reason.EXAM)


def find_gold(turn: Turn) -> Slot | None:
    """A comparison whose answer is known; nothing tells it apart."""
    comparison = draw_gold(turn, is_exam=False)
    return make_probe(turn, comparison, reason=Reason.GOLD, propensity=turn.project.gold_share)


def draw_gold(turn: Turn, *, is_exam: bool) -> Comparison | None:
    """Return a random one of the gold she has not met; there is never so much of it that sorting it costs.

    The sum keeps SQLite, which knows nothing of how many rows match, from going through the project's comparisons
    instead of through the gold: that took a second at 10,000.
    """
    if not turn.has_slices:
        drawn = list_drawn(turn.project.pk, turn.labeler.pk, is_exam=is_exam)
    else:
        unmet = list_unmet(turn.project.pk, turn.labeler, is_exam=is_exam)
        drawn = list(unmet.filter(is_of_her_slices(turn)).order_by("?")[:1])
    return next((gold.comparison for gold in drawn), None)


@compiled
def list_drawn(project: Any, labeler: Any, *, is_exam: bool) -> QuerySet[Gold]:
    """One of the gold of a project that has no slices: a claim in twenty asks."""
    return list_unmet(project, labeler, is_exam=is_exam).order_by("?")[:1]


def list_unmet(project: Any, labeler: Any, *, is_exam: bool) -> QuerySet[Gold]:
    gold = Gold.objects.annotate(of_project=F("comparison__project_id") + 0)
    known = gold.filter(of_project=project, is_active=True, is_exam=is_exam)
    return known.filter(*is_open_to(labeler, comparison="comparison__")).select_related(*TEXTS)


def is_of_her_slices(turn: Turn) -> Q:
    """Return the condition under which the comparison of a row is one she judges the kind of."""
    slices = list_slices(turn)
    return Q() if slices is None else Q(comparison__prompt__slice=None) | Q(comparison__prompt__slice__in=slices)


def find_repeat(turn: Turn) -> Slot | None:
    """One of her own earlier judgments, the other way round, to see whether she says the same again."""
    until = Now() - timedelta(hours=turn.project.repeat_after_h)
    old = Judgment.objects.of_work().filter(labeler=turn.labeler, revises=None, submitted_at__lt=until)
    first = old.order_by("submitted_at").values_list("submitted_at", flat=True).first()
    if first is None:
        return None
    repeats = Slot.objects.filter(comparison=OuterRef("comparison"), labeler=turn.labeler, reason=Reason.REPEAT)
    skips = Skip.objects.filter(comparison=OuterRef("comparison"), labeler=turn.labeler)
    still = old.filter(is_of_her_slices(turn), comparison__project=turn.project, comparison__state="open")
    unrepeated = still.filter(~Exists(repeats), ~Exists(skips)).with_texts().order_by("submitted_at")
    last = old.order_by("-submitted_at").values_list("submitted_at", flat=True).first() or first
    since = first + RNG.random() * (last - first)
    judgment = unrepeated.filter(submitted_at__gte=since).first() or unrepeated.first()
    if judgment is None:
        return None
    slot = make_probe(turn, judgment.comparison, reason=Reason.REPEAT, propensity=turn.project.repeat_share)
    if slot:
        slot.a_shown_left = not judgment.a_shown_left
    return slot


def make_probe(turn: Turn, comparison: Comparison | None, *, reason: Reason, propensity: float = 1.0) -> Slot | None:
    """Return a slot outside the overlap, for this labeler alone; she never has two probes of one comparison."""
    if comparison is None:
        return None
    return Slot(
        project=turn.project,
        comparison=comparison,
        slice_id=comparison.prompt.slice_id,
        number=Slot.PROBE_NUMBER + turn.labeler.pk,
        a_shown_left=RNG.random() < 0.5,
        reason=reason,
        propensity=propensity,
    )


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
