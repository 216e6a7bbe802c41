"""What a labeler is given next: exam, gold, repeats, a random control share, and the project's own order of work.

A strategy is a function from a turn to the slot it would give, or None; they are tried in an order drawn for each
claim, and one that has nothing leaves it to the next. Shares are of all claims: gold_share, repeat_share, and
random_share of the rest's making, so that chance keeps its share whatever the strategy.

reason and propensity are written on the slot as it is claimed, and from there on the judgment. The propensity of work
is the probability of the arm that picked it, among claims of work, times the one with which the comparison was
proposed. Where both arms would have picked alike - by priority, and this one has none - the arm does not weigh, and
the reason stays the one for which it was proposed; so it does when chance picked. Otherwise the reason is priority,
or active in a project that goes by scores: there what was raised comes first, what was lowered last. The propensity
of a probe is its share of claims; an exam's is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from labeling.domain.front import find_front, lies_ahead, move_front
from labeling.domain.idling import list_opened, remember_walk
from labeling.domain.probes import find_exam, find_gold, find_repeat
from labeling.domain.turns import RNG, TEXTS, Turn, list_slices
from labeling.models import Membership, Project, Reason, Slice, Slot
from labeling.querysets import SlotQuerySet
from labeling.statements import compiled

# All slots of one query are of one slice, or of none: naming it first only tells PostgreSQL that an index is in order.
RANDOM_ORDER = ("slice_id", "number", "shuffle", "id")
ORDERS = {
    Project.Strategy.PRIORITY: ("slice_id", "number", "-priority", "shuffle", "id"),
    Project.Strategy.SCORE: ("slice_id", "number", "-priority", "-score", "shuffle", "id"),
}


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
    """The project's own order: by priority, and among equals by score where it goes by scores."""
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
        return walk_unsliced(turn, order)
    slots = Slot.objects.filter(project=turn.project).claimable_by(turn.labeler).order_by(*order)
    probes = Slice.objects.filter(pk__in=slices).values(
        first=Subquery(slots.filter(slice=OuterRef("pk")).values("pk")[:1])
    )
    ranked = Slot.objects.order_by(*order[1:])
    heads = [ranked.filter(pk__in=probes).first(), slots.filter(slice=None).first()]
    found = [head.pk for head in heads if head]
    best = ranked.filter(pk__in=found).first() if len(found) > 1 else next(filter(None, heads), None)
    return take(lock_first(slots.filter(slice=best.slice_id)), turn) if best else None


def walk_unsliced(turn: Turn, order: tuple[str, ...]) -> Slot | None:
    """Return the first slot from the front on that she may be given, or of the whole queue."""
    key, ids = (turn.project.pk, order), (turn.project.pk, turn.labeler.pk)
    place = find_front(key)
    slot = take(list_ahead(*ids, *place, order=order), turn) if place else None
    slot = slot or take(list_unsliced(*ids, order=order), turn)
    if slot:
        move_front(key, slot)
    return slot


@compiled
def list_unsliced(project: Any, labeler: Any, *, order: tuple[str, ...]) -> SlotQuerySet:
    """The first slot of no slice, of a project that has none."""
    return lock_first(Slot.objects.filter(project=project, slice=None).claimable_by(labeler).order_by(*order))


@compiled
def list_ahead(
    project: Any, labeler: Any, number: Any, priority: Any, score: Any, shuffle: Any, *, order: tuple[str, ...]
) -> SlotQuerySet:
    """The first of them from a place on."""
    ahead = lies_ahead(order, number, priority, score, shuffle)
    return lock_first(Slot.objects.filter(ahead, project=project, slice=None).claimable_by(labeler).order_by(*order))


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
