"""How many judgments a comparison gets: more or fewer at any time, one more on disagreement, or none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.errors import InvalidContent
from labeling.models import Comparison, Gold, Project, Slot, User

CHUNK = 500  # comparisons a transaction: SQLite has one writer, and labelers wait behind it
MAX_OVERLAP = 100
SHUFFLE_RANGE = 2**31


@dataclass(frozen=True, kw_only=True)
class OverlapChange:
    """How many comparisons changed, and how many slots came and went."""

    n_comparisons: int = 0
    n_added: int = 0
    n_removed: int = 0

    def __add__(self, other: OverlapChange) -> OverlapChange:
        return OverlapChange(
            n_comparisons=self.n_comparisons + other.n_comparisons,
            n_added=self.n_added + other.n_added,
            n_removed=self.n_removed + other.n_removed,
        )


@transaction.atomic
def add_slots(comparison: Comparison, n: int, *, is_conditional: bool = False) -> list[Slot]:
    """Want n more judgments of a comparison and return their slots, shut while the comparison is not open."""
    (comparison,) = lock(Comparison.objects.filter(pk=comparison.pk))
    stored = list_slots([comparison]).get(comparison.pk, [])
    return raise_overlap(comparison, stored, n, is_conditional=is_conditional)


def raise_overlap(comparison: Comparison, stored: list[Slot], n: int, *, is_conditional: bool = False) -> list[Slot]:
    """Add n slots to those stored and return them; the comparison is locked by whoever calls."""
    comparison.overlap = min(max(comparison.overlap, len(stored)) + n, MAX_OVERLAP)
    Comparison.objects.filter(pk=comparison.pk).update(overlap=comparison.overlap)
    return insert_slots(comparison, stored, n, is_conditional=is_conditional)


def insert_slots(comparison: Comparison, stored: list[Slot], n: int, *, is_conditional: bool = False) -> list[Slot]:
    """Insert n slots beside those stored, under the numbers that are left, A where it was shown less often.

    Those of gold are shut: it comes as a probe, and never as work. Conditional are those that hang on what others said.
    """
    is_gold = Gold.objects.filter(comparison=comparison, is_active=True).exists()
    used = {slot.number for slot in stored}
    numbers = [number for number in range(comparison.overlap) if number not in used][:n]
    sides = [slot.a_shown_left for slot in sorted(stored, key=lambda slot: slot.number)]
    slots = []
    for number in numbers:
        sides.append(draw_side(sides))
        slots.append(make_slot(comparison, number, a_shown_left=sides[-1]))
        slots[-1].is_conditional = is_conditional
        if is_gold:
            slots[-1].state = Slot.State.SHUT
    return Slot.objects.bulk_create(slots)


def draw_side(sides: list[bool]) -> bool:
    """Return whether to show A left next: where it was less often, or else the other way round than last."""
    balance = sum(1 if is_left else -1 for is_left in sides)
    if balance:
        return balance < 0
    return not sides[-1] if sides else random.random() < 0.5


def make_slot(comparison: Comparison, number: int, *, a_shown_left: bool, shuffle: int | None = None) -> Slot:
    """Return a slot with its copies of what the comparison says; not stored yet."""
    is_open = comparison.state == Comparison.State.OPEN and not comparison.prompt.is_held_out
    return Slot(
        project_id=comparison.project_id,
        comparison=comparison,
        slice_id=comparison.prompt.slice_id,
        number=number,
        priority=comparison.priority,
        score=comparison.score,
        shuffle=random.randrange(SHUFFLE_RANGE) if shuffle is None else shuffle,
        a_shown_left=a_shown_left,
        reason=comparison.reason,
        propensity=comparison.propensity,
        state=Slot.State.FREE if is_open else Slot.State.SHUT,
    )


def set_overlap(
    comparisons: QuerySet[Comparison] | Iterable[int], overlap: int, *, actor: User | None
) -> OverlapChange:
    """Want this many judgments of each of a project's comparisons from now on.

    Raising adds slots; lowering takes away free ones and leaves what is held or done. 500 comparisons a transaction;
    the last writes the audit event.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise InvalidContent(_("The overlap must be from 0 to 100, got %s.") % overlap)
    ids = comparisons.values_list("pk", flat=True) if isinstance(comparisons, QuerySet) else comparisons
    change, first = OverlapChange(), None
    for chunk in chunks(sorted(set(ids))):
        first = first or chunk[0]
        change += set_chunk(chunk, overlap)
    if first is not None:
        project = Comparison.objects.select_related("project").get(pk=first).project
        subject = f"{change.n_comparisons} comparisons"
        record_event(
            "comparison.overlap", subject, actor=actor, project=project, after=vars(change) | {"overlap": overlap}
        )
    return change


@transaction.atomic
def set_chunk(ids: list[int], overlap: int) -> OverlapChange:
    changed = lock(Comparison.objects.filter(pk__in=ids).exclude(overlap=overlap))
    change = OverlapChange(n_comparisons=len(changed))
    slots = list_slots(changed)
    asks_on = bool(changed) and has_asked_on(changed[0].project)
    for comparison in changed:
        wanted = overlap - len(slots.get(comparison.pk, []))
        comparison.overlap = overlap
        Comparison.objects.filter(pk=comparison.pk).update(overlap=overlap)
        if wanted > 0:
            stored = slots.get(comparison.pk, [])
            is_conditional = asks_on and hangs_on_votes(stored)
            n_added = len(insert_slots(comparison, stored, wanted, is_conditional=is_conditional))
            change += OverlapChange(n_added=n_added)
        elif wanted < 0:
            change += OverlapChange(n_removed=remove_free(slots[comparison.pk], -wanted))
    return change


def has_asked_on(project: Project) -> bool:
    """Say whether a project asks for one judgment more where labelers disagree, or ever did."""
    return project.overlap_max > 2 or Slot.objects.filter(project=project, is_conditional=True).exists()


def hangs_on_votes(stored: list[Slot]) -> bool:
    """Say whether places beside these hang on what others said, where labelers at odds are asked on.

    So it is once all have judged who are asked whatever they say: those at odds have one place more, of the same number.
    """
    asked = [slot for slot in stored if not slot.is_conditional]
    return len(asked) >= 2 and all(slot.state == Slot.State.DONE for slot in asked)


def remove_free(slots: list[Slot], n: int) -> int:
    """Delete up to n free or shut slots, the last numbers first; a slot someone claims meanwhile stays."""
    idle = [slot for slot in slots if slot.state in (Slot.State.FREE, Slot.State.SHUT)]
    last = [slot.pk for slot in sorted(idle, key=lambda slot: -slot.number)[:n]]
    locked = Slot.objects.filter(pk__in=last, labeler=None).select_for_update(of=("self",))
    return Slot.objects.filter(pk__in=[slot.pk for slot in locked]).delete()[0]


def list_slots(comparisons: list[Comparison]) -> dict[int, list[Slot]]:
    """Return the slots of comparisons by comparison, probes left out."""
    slots: dict[int, list[Slot]] = {}
    for slot in Slot.objects.of_work().filter(comparison__in=[row.pk for row in comparisons]):
        slots.setdefault(slot.comparison_id, []).append(slot)
    return slots


def ask_another(comparison: Comparison) -> bool:
    """Want one judgment more where labelers disagree, up to the project's overlap_max; True when one was added.

    They disagree when nobody is asked any more and the strengths lie spread_limit apart or name different winners.
    Called after each judgment with the comparison's tally up to date; where the rule is off, or the instance says that
    they agree, it asks the database nothing. Judgments from before a comparison was sent back count no more.
    """
    project = comparison.project
    if not 2 <= comparison.n_judgments < project.overlap_max:
        return False
    if comparison.spread < project.spread_limit and not comparison.is_split:
        return False
    disputed = Q(spread__gte=project.spread_limit) | Q(is_split=True)
    with transaction.atomic():
        judged = Comparison.objects.without_gold().filter(disputed, pk=comparison.pk, state=Comparison.State.OPEN)
        asked = Slot.objects.of_work().filter(comparison=OuterRef("pk"), state__in=[Slot.State.FREE, Slot.State.HELD])
        # Whoever waited for the lock sees the overlap raised; the slots of others she would not see yet.
        judged = judged.filter(n_judgments__lt=project.overlap_max, overlap=comparison.overlap)
        found = lock(judged.filter(~Exists(asked)))
        return bool(found and raise_overlap(found[0], list_slots(found).get(comparison.pk, []), 1, is_conditional=True))


def shut_slots(comparison_ids: Iterable[int]) -> int:
    """Hand out the free slots of these comparisons no more, and return how many there were."""
    free = Slot.objects.of_work().filter(comparison__in=list(comparison_ids), state=Slot.State.FREE)
    return free.update(state=Slot.State.SHUT)


def open_slots(comparison_ids: Iterable[int]) -> int:
    """Hand out again what was shut, gold left out, and return how many slots that were."""
    queued = Comparison.objects.without_gold().filter(pk__in=list(comparison_ids))
    shut = Slot.objects.of_work().filter(comparison__in=queued, state=Slot.State.SHUT)
    return shut.update(state=Slot.State.FREE, opened_at=Now())


def lock(comparisons: QuerySet[Comparison]) -> list[Comparison]:
    """Return comparisons with their prompts, locked until the transaction ends where the database has row locks."""
    return list(comparisons.select_related("prompt").select_for_update(of=("self",), no_key=True).order_by("pk"))


def chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    listed = list(ids)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]
