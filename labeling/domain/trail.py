"""The audit trail as people read it: newest first, by verb, actor and subject, each event with what changed to what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from labeling.models import AuditEvent, Project, User

PAGE_ROWS = 50
WINDOW_ROWS = 5_000  # looked at in one trip: what a filter asks for has no index
MAX_ID = 2**63 - 1
SHOWN_ITEMS = 5
SHOWN_CHARS = 200
BULK_EVENTS = 200  # of the newest changes of many rows, those looked through for one row


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing an event says: what it was before and is after, each None where it says nothing of it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """An event with its facts."""

    event: AuditEvent
    facts: list[Fact]


@dataclass(frozen=True, kw_only=True)
class Trail:
    """A page of lines, and the id before which to go on, if there is more; is_window: that was not looked at yet."""

    lines: list[Line]
    before: int | None = None
    is_window: bool = False


def read_trail(
    project: Project, *, verb: str = "", actor: User | None = None, subject: str = "", before: int | None = None
) -> Trail:
    """Return the project's events before that id, newest first. verb: its beginning; subject: part of it."""
    events = AuditEvent.objects.filter(project=project, pk__lt=before or MAX_ID).order_by("-pk")
    last = list(events.values_list("pk", flat=True)[WINDOW_ROWS - 1 : WINDOW_ROWS + 1])
    floor = last[0] if len(last) == 2 else None
    found = events.filter(pk__gte=floor or 0).select_related("actor")
    if verb:
        found = found.filter(verb__startswith=verb)
    if actor:
        found = found.filter(actor=actor)
    if subject:
        found = found.filter(subject__icontains=subject)
    rows = list(found[: PAGE_ROWS + 1])
    if len(rows) > PAGE_ROWS:
        return Trail(lines=write_lines(rows[:PAGE_ROWS]), before=rows[PAGE_ROWS - 1].pk)
    return Trail(lines=write_lines(rows), before=floor, is_window=floor is not None)


def read_comparison(project: Project, pk: int, *, n: int = PAGE_ROWS) -> list[Line]:
    """Return what was done to one comparison, by itself or among the latest changes of many, newest first."""
    own = AuditEvent.objects.filter(project=project, verb__in=VERBS_OF_COMPARISONS).select_related("actor")
    alone = list(own.filter(subject=f"comparison {pk}").order_by("-pk")[:n])
    many = own.filter(subject__endswith=" comparisons").order_by("-pk")[:BULK_EVENTS]
    among = [event for event in many if pk in event.after.get("ids", [])]
    return write_lines(sorted([*alone, *among], key=lambda event: -event.pk)[:n])


VERBS_OF_COMPARISONS = [
    "comparison.adjudicate", "comparison.overlap", "comparison.priority", "comparison.reopen", "comparison.retire",
    "gold.drop", "gold.make", "skip.undo",
]  # fmt: skip


def write_lines(events: Iterable[AuditEvent]) -> list[Line]:
    return [Line(event=event, facts=read_facts(event)) for event in events]


def read_facts(event: AuditEvent) -> list[Fact]:
    """Return what an event changed, then what it says besides."""
    names = dict.fromkeys([*event.before, *event.after])
    return [
        Fact(
            name=str(name),
            before=say(event.before[name]) if name in event.before else None,
            after=say(event.after[name]) if name in event.after else None,
        )
        for name in names
    ]


def say(value: Any) -> str:
    """Return a value as a page shows it: long ones by their beginning, ids of many rows by their number."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, dict):
        return "; ".join(f"{name or '–'}: {say(inner)}" for name, inner in list(value.items())[:SHOWN_ITEMS])
    if isinstance(value, list):
        words = ", ".join(str(item) for item in value[:SHOWN_ITEMS])
        return words if len(value) <= SHOWN_ITEMS else _("%(some)s … %(n)d in all") % {"some": words, "n": len(value)}
    text = str(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
