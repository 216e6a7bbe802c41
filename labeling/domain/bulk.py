"""One change of many rows: those a manager ticked, or all that a search finds, a short transaction for each 500.

Of a search as much is changed as five seconds allow; what is left goes on in another request from where this one
stopped. Every chunk leaves an audit event that names its rows, and rows that are already as asked are passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, Sum
from django.db.models.functions import Coalesce, Least, Now
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.errors import InvalidContent
from labeling.domain.filters import Page
from labeling.domain.overlap import CHUNK, MAX_OVERLAP, OverlapChange, chunks, lock, open_slots, set_chunk, shut_slots
from labeling.domain.progress import CountRows
from labeling.domain.search import Place, Search, begin, find_floor, find_window, read_window
from labeling.models import Comparison, Project, Prompt, Slice, Slot, User

BUDGET_S = 5.0
MAX_COUNTED = 10_000
MAX_PRIORITY = 1000


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to rows. value: an overlap, a priority, or the name and language of a slice, both empty for none."""

    act: str
    value: Any = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many rows changed, and where to go on, if there is more."""

    n_changed: int
    after: Place | None = None


def change_rows(project: Project, page: str, ids: Sequence[int], change: Change, *, actor: User) -> int:
    """Change rows of a project by their ids and return how many were not as asked yet."""
    return sum(change_chunk(project, page, chunk, change, actor=actor) for chunk in chunks(sorted(set(ids))))


def change_all(
    project: Project, search: Search, change: Change, *, actor: User, after: Place | None = None
) -> Progress:
    """Change what a search finds, from a place on."""
    n_changed, end = 0, time.monotonic() + BUDGET_S
    for ids, place in walk(project, search, after or Place()):
        n_changed += change_chunk(project, search.page, ids, change, actor=actor) if ids else 0
        if place and time.monotonic() > end:
            return Progress(n_changed=n_changed, after=place)
    return Progress(n_changed=n_changed)


def count_all(project: Project, search: Search) -> tuple[int, bool]:
    """Return how many rows a search finds, and whether there may be more: counting stops early, too."""
    n, end = 0, time.monotonic() + BUDGET_S
    for ids, place in walk(project, search, Place()):
        n += len(ids)
        if place and (n >= MAX_COUNTED or time.monotonic() > end):
            return n, True
    return n, False


def walk(project: Project, search: Search, place: Place) -> Iterator[tuple[list[int], Place | None]]:
    """Yield the ids a search finds, at most 500 at once, each time with the place to go on from."""
    at: Place | None = place
    while at:
        floor = find_floor(project, search, at)
        if search.text:
            ids = [hit.row.pk for hit in read_window(project, search, at, floor)]
        else:
            rows = find_window(project, search, floor).filter(begin(search.page, at))
            ids = list(rows.values_list("pk", flat=True))
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            is_last = start + CHUNK >= len(ids)
            yield chunk, floor if is_last else Place(chunk[-1])
        if not ids:
            yield [], floor
        at = floor


@transaction.atomic
def change_chunk(project: Project, page: str, ids: Sequence[int], change: Change, *, actor: User) -> int:
    """Change up to 500 rows in one transaction, with one audit event; return how many were not as asked yet."""
    if change.act not in CHANGES or (page == Page.PROMPTS and change.act != "slice"):
        raise InvalidContent(_("This cannot be done to %s.") % page)
    if page == Page.PROMPTS:
        prompts = list(Prompt.objects.filter(project=project, pk__in=ids))
        return change_slice(project, prompts, change.value, actor=actor)
    comparisons = lock(Comparison.objects.filter(project=project, pk__in=ids))
    return CHANGES[change.act](project, comparisons, change.value, actor=actor)


def retire(project: Project, comparisons: Sequence[Comparison], _value: Any, *, actor: User) -> int:
    """Hand out no more of these; what was judged stays."""
    rows = [row for row in comparisons if row.state != Comparison.State.RETIRED]
    shut_slots([row.pk for row in rows])
    return store(project, rows, "state", Comparison.State.RETIRED.value, verb="comparison.retire", actor=actor)


def reopen(project: Project, comparisons: Sequence[Comparison], _value: Any, *, actor: User) -> int:
    """Hand out again what was retired; gold and held-out prompts stay out of the queue."""
    rows = [row for row in comparisons if row.state == Comparison.State.RETIRED]
    queued = Comparison.objects.filter(pk__in=[row.pk for row in rows], gold=None, prompt__is_held_out=False)
    open_slots(queued.values_list("pk", flat=True))
    return store(project, rows, "state", Comparison.State.OPEN.value, verb="comparison.reopen", actor=actor)


def change_priority(project: Project, comparisons: Sequence[Comparison], value: int, *, actor: User) -> int:
    """Have these claimed sooner or later than others."""
    if not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise InvalidContent(_("The priority must be from -1000 to 1000, got %s.") % value)
    rows = [row for row in comparisons if row.priority != value]
    Slot.objects.filter(comparison__in=[row.pk for row in rows]).update(priority=value)
    return store(project, rows, "priority", value, verb="comparison.priority", actor=actor)


def change_overlap(project: Project, comparisons: Sequence[Comparison], value: int, *, actor: User) -> int:
    """Want this many judgments of each; gold, which nobody is to judge as work, is passed over."""
    if not 0 <= value <= MAX_OVERLAP:
        raise InvalidContent(_("The overlap must be from 0 to 100, got %s.") % value)
    ids = [row.pk for row in comparisons if row.overlap != value]
    ordinary = set(Comparison.objects.filter(pk__in=ids, gold=None).values_list("pk", flat=True))
    rows = [row for row in comparisons if row.pk in ordinary]
    before = group(rows, "overlap")
    change = set_chunk([row.pk for row in rows], value)
    slots = {"n_added": change.n_added, "n_removed": change.n_removed}
    return record(project, rows, "overlap", before, value, verb="comparison.overlap", actor=actor, said=slots)


def change_slices(project: Project, comparisons: Sequence[Comparison], value: tuple[str, str], *, actor: User) -> int:
    """Put the prompts of these comparisons into a slice; returns how many prompts were not in it yet."""
    prompts = list(Prompt.objects.filter(pk__in={row.prompt_id for row in comparisons}))
    return change_slice(project, prompts, value, actor=actor)


def change_slice(project: Project, prompts: Sequence[Prompt], value: tuple[str, str], *, actor: User) -> int:
    """Put prompts into a slice, made if it is new, and whatever waits to be judged of them."""
    name, language = value
    made = Slice.objects.get_or_create(project=project, name=name, language=language)[0] if name or language else None
    pk = made.pk if made else None
    rows = [row for row in prompts if row.slice_id != pk]
    names = {row.pk: str(row) for row in Slice.objects.filter(pk__in={row.slice_id for row in rows})}
    before: dict[str, list[int]] = {}
    for row in rows:
        before.setdefault(names.get(row.slice_id or 0, ""), []).append(row.pk)
    ids = [row.pk for row in rows]
    Prompt.objects.filter(pk__in=ids).update(slice=made)
    Slot.objects.filter(comparison__prompt__in=ids).update(slice=made, opened_at=Now())
    after = str(made) if made else ""
    return record(project, rows, "slice", before, after, verb="prompt.slice", actor=actor)


def store(project: Project, rows: Sequence[Comparison], name: str, value: Any, *, verb: str, actor: User) -> int:
    """Store one value in rows that have another, with the event."""
    before = group(rows, name)
    Comparison.objects.filter(pk__in=[row.pk for row in rows]).update(**{name: value})
    return record(project, rows, name, before, value, verb=verb, actor=actor)


def group(rows: Sequence[Comparison], name: str) -> dict[str, list[int]]:
    """Return the ids of rows by the value they have."""
    ids: dict[str, list[int]] = {}
    for row in rows:
        ids.setdefault(str(getattr(row, name)), []).append(row.pk)
    return ids


def record(
    project: Project,
    rows: Sequence[Any],
    name: str,
    before: Mapping[str, list[int]],
    after: Any,
    *,
    verb: str,
    actor: User,
    said: Mapping[str, Any] | None = None,
) -> int:
    """Store the event of a change, of one row by its number and of more by their ids; return how many rows it was."""
    kind = verb.split(".")[0]
    if len(rows) == 1:
        (value,) = before
        subject = f"{kind} {rows[0].pk}"
        record_event(
            verb, subject, actor=actor, project=project, before={name: value}, after={name: after, **(said or {})}
        )
    elif rows:
        facts = {name: after, "ids": [row.pk for row in rows], **(said or {})}
        record_event(verb, f"{len(rows)} {kind}s", actor=actor, project=project, before={name: before}, after=facts)
    return len(rows)


CHANGES: Mapping[str, Callable[..., int]] = {
    "retire": retire,
    "reopen": reopen,
    "priority": change_priority,
    "overlap": change_overlap,
    "slice": change_slices,
}


def find_queued(project: Project) -> Search:
    """Return the search for what a change of the project's overlap can apply to: open, in the queue, no gold."""
    return Search(page=Page.COMPARISONS, facts={"state": Comparison.State.OPEN, "queued": True, "gold": False})


def plan_overlap(project: Project, overlap: int) -> OverlapChange:
    """Return what wanting this many judgments of every queued comparison would change; nothing is stored."""
    slots = Slot.objects.of_work().filter(comparison=OuterRef("pk")).values("pk")
    idle = slots.filter(state__in=[Slot.State.FREE, Slot.State.SHUT])
    queued = Comparison.objects.filter(project=project, state=Comparison.State.OPEN, overlap__gt=0, gold=None)
    rows = queued.exclude(overlap=overlap).annotate(n_slots=CountRows(slots), n_idle=CountRows(idle))
    counts = rows.aggregate(
        n_comparisons=Count("id"),
        n_added=Coalesce(Sum(overlap - F("n_slots"), filter=Q(n_slots__lt=overlap)), 0),
        n_removed=Coalesce(Sum(Least(F("n_slots") - overlap, "n_idle"), filter=Q(n_slots__gt=overlap)), 0),
    )
    return OverlapChange(**counts)
