"""A labeler's own past: her judgments and skips, newest first, found again by their words. Nothing of anyone else.

Probes are rows like all others here: nothing tells gold, repeats and exams from the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from labeling.domain.assignment import require_member
from labeling.domain.skipping import bring_back, find_put_by, record_undo
from labeling.models import Comparison, Judgment, Project, Skip, User
from labeling.querysets import JudgmentQuerySet

PAGE_ROWS = 25
BATCH_ROWS = 250
# A search reads at most this many of her own rows in one go and then offers to go on.
WINDOW_ROWS = 5_000
EXCERPT_CHARS = 60
OPENING_CHARS = 160
# A verdict in the words of the page she saw, where A is left: what it is of the contents.
VERDICTS = {
    "left": Q(strength__lt=0, a_shown_left=True) | Q(strength__gt=0, a_shown_left=False),
    "right": Q(strength__gt=0, a_shown_left=True) | Q(strength__lt=0, a_shown_left=False),
    "tie": Q(strength=0, both_bad=False),
    "both_bad": Q(both_bad=True),
}
PROMPT_TEXT = Cast("comparison__prompt__messages", TextField())
MAX_ID = 2**63 - 1
TEXTS = ("comparison__prompt", "comparison__completion_a", "comparison__completion_b")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a labeler looks for. verdict: a key of VERDICTS; reason: one of the words she clicked."""

    text: str = ""
    verdict: str = ""
    reason: str = ""
    day: date | None = None
    is_revised: bool = False


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Where the words looked for stand. part: prompt, left, right or note, as she saw them."""

    part: str
    before: str
    hit: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of her history: her last word on a pair, or a skip."""

    pk: int
    at: datetime
    opening: str
    excerpt: Excerpt | None
    judgment: Judgment | None = None
    skip: Skip | None = None
    preference: int = 0
    is_frozen: bool = False

    @property
    def seconds(self) -> float:
        return self.judgment.active_ms / 1000 if self.judgment else 0.0


@dataclass(frozen=True, kw_only=True)
class Page:
    """Entries, and the id before which to go on; is_window says that what follows was not looked at yet."""

    entries: list[Entry]
    before: int | None = None
    is_window: bool = False


def list_judgments(project: Project, labeler: User, search: Search, *, before: int | None = None) -> Page:
    """Return the labeler's judgments as they stand, newest first, from those before that id on."""
    own = Judgment.objects.filter(labeler=labeler, pk__lt=before or MAX_ID)
    floor = find_floor(own) if search.text or search.reason else 0
    rows = narrow_judgments(own.filter(pk__gte=floor).of_project(project).current(), search)

    def make_entry(judgment: Judgment) -> Entry | None:
        if search.reason and search.reason not in judgment.reasons:
            return None
        parts = read_parts(judgment.comparison, a_shown_left=judgment.a_shown_left, note=judgment.note)
        return fill_entry(
            judgment,
            search.text,
            parts,
            at=judgment.submitted_at,
            judgment=judgment,
            preference=judgment.strength if judgment.a_shown_left else -judgment.strength,
            is_frozen=judgment.pk <= project.frozen_upto,
        )

    return fill_page(rows, make_entry, floor=floor)


def list_skips(project: Project, labeler: User, search: Search, *, before: int | None = None) -> Page:
    """Return what the labeler passed on, newest first; of a search its words and its day count."""
    own = Skip.objects.filter(labeler=labeler, pk__lt=before or MAX_ID)
    floor = find_floor(own) if search.text else 0
    rows = own.filter(pk__gte=floor, comparison__project=project)
    if search.day:
        rows = rows.filter(created_at__range=span_day(search.day))
    if piece := find_plain_piece(search.text):
        rows = rows.annotate(asked=PROMPT_TEXT).filter(reads(piece))

    def make_entry(skip: Skip) -> Entry | None:
        return fill_entry(skip, search.text, read_parts(skip.comparison), at=skip.created_at, skip=skip)

    return fill_page(rows, make_entry, floor=floor)


@transaction.atomic
def forget_skip(skip_id: int, project: Project, labeler: User) -> bool:
    """Let a pair she passed on come to her again; False when she had taken the skip back before."""
    require_member(project, labeler)
    skip = Skip.objects.filter(pk=skip_id, labeler=labeler, comparison__project=project).first()
    if skip is None or Skip.objects.filter(pk=skip.pk).delete()[0] == 0:
        return False
    record_undo(skip, labeler, project)
    if probe := find_put_by(skip):
        probe.delete()
    else:
        bring_back(skip.comparison_id, project)
    return True


def find_floor(own: QuerySet[Any]) -> int:
    """Return the id at which a window over her newest rows ends, from the index alone; 0 when all fit in."""
    last = list(own.order_by("-id").values_list("pk", flat=True)[WINDOW_ROWS - 1 : WINDOW_ROWS + 1])
    return last[0] if len(last) == 2 else 0


def narrow_judgments(rows: JudgmentQuerySet, search: Search) -> JudgmentQuerySet:
    """Keep what a search can find, and of words perhaps a little more: the page looks again."""
    if search.verdict:
        rows = rows.filter(VERDICTS[search.verdict])
    if search.is_revised:
        rows = rows.filter(revises__isnull=False)
    if search.day:
        rows = rows.filter(submitted_at__range=span_day(search.day))
    if piece := find_plain_piece(search.reason):
        rows = rows.annotate(clicked=Cast("reasons", TextField())).filter(clicked__icontains=piece)
    if piece := find_plain_piece(search.text):
        rows = rows.annotate(asked=PROMPT_TEXT).filter(reads(piece) | Q(note__icontains=piece))
    return rows


def reads(piece: str) -> Q:
    return Q(asked__icontains=piece) | Q(
        Q(comparison__completion_a__text__icontains=piece) | Q(comparison__completion_b__text__icontains=piece)
    )


def find_plain_piece(words: str) -> str:
    """Return the longest piece that JSON leaves alone and every database finds in any case; Python sees the rest."""
    return max(re.findall(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+)*", words), key=len, default="")


def fill_page(rows: QuerySet[Any], make_entry: Callable[[Any], Entry | None], *, floor: int) -> Page:
    """Return the first entries among the rows; they are read in batches, the first as long as a page."""
    entries: list[Entry] = []
    rows = rows.select_related(*TEXTS).order_by("-id")
    size, batch = PAGE_ROWS + 1, list(rows[: PAGE_ROWS + 1])
    while batch:
        for entry in filter(None, map(make_entry, batch)):
            if len(entries) == PAGE_ROWS:
                return Page(entries=entries, before=entries[-1].pk)
            entries.append(entry)
        if len(batch) < size:
            break
        size, batch = BATCH_ROWS, list(rows.filter(pk__lt=batch[-1].pk)[:BATCH_ROWS])
    return Page(entries=entries, before=floor or None, is_window=floor > 0)


def fill_entry(row: Judgment | Skip, words: str, parts: Iterable[tuple[str, str]], **facts: Any) -> Entry | None:
    """Return a row of the history; None when words are looked for that stand in none of its parts."""
    excerpt = find_excerpt(words, parts) if words else None
    if words and excerpt is None:
        return None
    return Entry(pk=row.pk, opening=open_prompt(row.comparison), excerpt=excerpt, **facts)


def read_parts(comparison: Comparison, *, a_shown_left: bool = True, note: str = "") -> Iterator[tuple[str, str]]:
    """Yield what she read and wrote, part by part."""
    a, b = comparison.completion_a.text, comparison.completion_b.text
    for message in reversed(comparison.prompt.messages):
        yield "prompt", str(message["content"])
    yield "left", a if a_shown_left else b
    yield "right", b if a_shown_left else a
    yield "note", note


def find_excerpt(words: str, parts: Iterable[tuple[str, str]]) -> Excerpt | None:
    """Return the first place of the words, whatever their case, with what stands around it."""
    pattern = re.compile(re.escape(words), re.IGNORECASE)
    for part, text in parts:
        if found := pattern.search(text):
            start, end = found.span()
            before, after = text[max(0, start - EXCERPT_CHARS) : start], text[end : end + EXCERPT_CHARS]
            return Excerpt(part=part, before=before, hit=found.group(), after=after)
    return None


def open_prompt(comparison: Comparison) -> str:
    """Return the beginning of what was asked, on one line."""
    asked = str(comparison.prompt.messages[-1]["content"])
    words = " ".join(asked[: 4 * OPENING_CHARS].split())
    return words if len(words) <= OPENING_CHARS and len(asked) <= 4 * OPENING_CHARS else f"{words[:OPENING_CHARS]}…"


def span_day(day: date) -> tuple[datetime, datetime]:
    """Return a day's first and last moment."""
    start = timezone.make_aware(datetime.combine(day, time.min))
    return start, start + timedelta(days=1, microseconds=-1)
