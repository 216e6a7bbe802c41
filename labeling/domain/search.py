"""Rows of data by their words and facts, newest first, at a bounded cost whatever their number.

A page is found in windows of a few thousand rows along an index of the project. Whatever the filter, a request looks
at windows until its page is full or a second has passed, says what it has, and offers to go on from there: so nothing
is ever counted or sorted whole, and a search for a rare word over a million rows is a dozen clicks rather than a hang.
The whole text of a prompt is found at once, by its hash.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast

from labeling.domain.content import hash_messages
from labeling.domain.errors import InvalidContent
from labeling.domain.filters import FILTERS, Page
from labeling.domain.history import Excerpt, find_excerpt, find_plain_piece
from labeling.models import Comparison, Completion, Judgment, Project, Prompt

PAGE_ROWS = 50
WINDOW_ROWS = 5_000
BATCH_ROWS = 100
BUDGET_S = 1.0
MAX_ID = 2**63 - 1
# Facts that name a few rows along an index: the window is among those.
DIRECT = {"number", "prompt", "comparison"}


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for on a page of data. facts: values by names of FILTERS."""

    page: str
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if strange := set(self.facts) - set(FILTERS[self.page]):
            raise InvalidContent(f"{sorted(strange)[0]} is no filter of {self.page}")


@dataclass(frozen=True, order=True)
class Place:
    """Where a page begins: rows under this key, and of the key itself those under `within`, if it is not 0."""

    key: int = MAX_ID
    within: int = 0

    def __str__(self) -> str:
        return f"{self.key}-{self.within}" if self.within else str(self.key)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A row found, and where the words looked for stand in it."""

    row: Any
    excerpt: Excerpt | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of rows, and where the next begins, if there is more; is_window says that it was not looked at yet."""

    hits: list[Hit]
    after: Place | None = None
    is_window: bool = False


def find_rows(project: Project, search: Search, *, after: Place | None = None, n: int = PAGE_ROWS) -> Found:
    """Return the next rows from a place on."""
    hits: list[Hit] = []
    end = time.monotonic() + BUDGET_S
    place = after or Place()
    while True:
        floor = find_floor(project, search, place)
        for hit in read_window(project, search, place, floor):
            if len(hits) == n:
                return Found(hits=hits, after=place_of(hits[-1].row))
            hits.append(hit)
        if floor is None:
            return Found(hits=hits)
        place = floor
        if time.monotonic() > end:
            return Found(hits=hits, after=place, is_window=True)


def read_window(project: Project, search: Search, place: Place, floor: Place | None) -> Iterator[Hit]:
    """Yield what is found from a place down to a floor; in batches, for rows are texts of any length."""
    rows = find_window(project, search, floor)
    size = PAGE_ROWS + 1
    while True:
        batch = list(rows.filter(begin(search.page, place))[:size])
        for row in batch:
            excerpt = find_excerpt(search.text, read_parts(row)) if search.text else None
            if excerpt or not search.text:
                yield Hit(row=row, excerpt=excerpt)
        if len(batch) < size:
            return
        place, size = place_of(batch[-1]), BATCH_ROWS


def find_window(project: Project, search: Search, floor: Place | None) -> QuerySet[Any]:
    """Return what may be found down to a floor, in the order of the page."""
    key = KEYS[search.page]
    rows = narrow(list_rows(project, search.page), search).order_by(f"-{key}", "-pk")
    return rows.filter(**{f"{key}__gte": floor.key}) if floor else rows


def find_floor(project: Project, search: Search, place: Place) -> Place | None:
    """Return where the window after this one begins, from the index alone; None when this is the last."""
    above = Q(pk__lte=place.key) if place.within else Q(pk__lt=place.key)
    keys = list_keys(project, search).filter(above).order_by("-pk").values_list("pk", flat=True)
    last = list(keys[WINDOW_ROWS - 1 : WINDOW_ROWS + 1])
    return Place(last[0]) if len(last) == 2 else None


def list_keys(project: Project, search: Search) -> QuerySet[Any]:
    """Return the rows along which windows are cut: the project's own where an index knows them.

    Judgments have no index of their project: the house's are walked, or those of one labeler.
    """
    facts = {name: value for name, value in search.facts.items() if name in DIRECT}
    if search.page == Page.COMPLETIONS:
        prompts = Prompt.objects.filter(project=project)
        if "number" in facts:
            prompts = prompts.filter(completions=facts["number"])
        return prompts.filter(pk=facts["prompt"]) if "prompt" in facts else prompts
    keys: QuerySet[Any] = MODELS[search.page]._default_manager.all()
    if search.page != Page.JUDGMENTS:
        keys = keys.filter(project=project)
    elif "labeler" in search.facts:
        facts["labeler"] = search.facts["labeler"]
    return keys.filter(*[FILTERS[search.page][name](value) for name, value in facts.items()])


def list_rows(project: Project, page: str) -> QuerySet[Any]:
    """Return the project's rows of a page with all that is shown of them."""
    if page == Page.PROMPTS:
        return Prompt.objects.filter(project=project).select_related("slice")
    if page == Page.COMPLETIONS:
        return Completion.objects.filter(prompt__project=project).select_related("prompt__slice")
    if page == Page.COMPARISONS:
        pair = ("prompt__slice", "completion_a", "completion_b", "gold")
        return Comparison.objects.filter(project=project).select_related(*pair).with_standing()
    texts = ("labeler", "guideline", "comparison__prompt", "comparison__completion_a", "comparison__completion_b")
    return Judgment.objects.of_project(project).current().select_related(*texts)


def narrow(rows: QuerySet[Any], search: Search) -> QuerySet[Any]:
    """Keep what a search can find, and of words perhaps a little more: the page looks again."""
    for name, value in search.facts.items():
        rows = rows.filter(FILTERS[search.page][name](value))
    if piece := find_plain_piece(search.text):
        if path := PROMPTS[search.page]:
            rows = rows.annotate(asked=Cast(path, TextField()))
        reads = Q()
        for name in TEXTS[search.page]:
            reads |= Q(**{f"{name}__icontains": piece})
        rows = rows.filter(reads)
    return rows


def find_prompt(project: Project, text: str) -> Prompt | None:
    """Return the prompt that asks exactly this, in one turn."""
    sha = hash_messages([{"role": "user", "content": text}])
    return Prompt.objects.filter(project=project, content_sha=sha).first() if text else None


def begin(page: str, place: Place) -> Q:
    """Return the condition of rows after a place."""
    key = KEYS[page]
    if not place.within:
        return Q(**{f"{key}__lt": place.key})
    return Q(**{f"{key}__lt": place.key}) | Q(**{key: place.key, "pk__lt": place.within})


def place_of(row: Model) -> Place:
    """Return the place after a row."""
    return Place(row.prompt_id, row.pk) if isinstance(row, Completion) else Place(row.pk)


def read_parts(row: Model) -> Iterator[tuple[str, str]]:
    """Yield the texts of a row, part by part: prompt, a, b, completion or note."""
    if isinstance(row, Judgment):
        yield "note", row.note
        yield from read_parts(row.comparison)
    elif isinstance(row, Comparison):
        yield from read_parts(row.prompt)
        yield "a", row.completion_a.text
        yield "b", row.completion_b.text
    elif isinstance(row, Completion):
        yield "completion", row.text
    elif isinstance(row, Prompt):
        for message in reversed(row.messages):
            yield "prompt", str(message["content"])


MODELS: Mapping[str, type[Model]] = {
    Page.PROMPTS: Prompt,
    Page.COMPLETIONS: Completion,
    Page.COMPARISONS: Comparison,
    Page.JUDGMENTS: Judgment,
}
# Completions stand in the order of their prompts, which an index knows.
KEYS: Mapping[str, str] = {
    Page.PROMPTS: "pk",
    Page.COMPLETIONS: "prompt_id",
    Page.COMPARISONS: "pk",
    Page.JUDGMENTS: "pk",
}
PROMPTS: Mapping[str, str] = {
    Page.PROMPTS: "messages",
    Page.COMPLETIONS: "",
    Page.COMPARISONS: "prompt__messages",
    Page.JUDGMENTS: "comparison__prompt__messages",
}
TEXTS: Mapping[str, tuple[str, ...]] = {
    Page.PROMPTS: ("asked",),
    Page.COMPLETIONS: ("text",),
    Page.COMPARISONS: ("asked", "completion_a__text", "completion_b__text"),
    Page.JUDGMENTS: ("asked", "note", "comparison__completion_a__text", "comparison__completion_b__text"),
}
