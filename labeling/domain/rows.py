"""Rows of data as lists show them: the beginning of their texts, and what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from labeling.domain.history import OPENING_CHARS, Excerpt
from labeling.domain.search import Hit
from labeling.domain.showing import ShownText
from labeling.models import Comparison, Completion, Judgment, Prompt

SHOWN_COMPLETIONS = 20


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """A row of a list. opening: the last turn of its prompt; text: of a completion its own beginning."""

    row: Any
    opening: str
    text: str = ""
    excerpt: Excerpt | None = None


def show_row(hit: Hit) -> ShownRow:
    row = hit.row
    text = shorten(row.text) if isinstance(row, Completion) else ""
    return ShownRow(row=row, opening=open_prompt(find_prompt(row)), text=text, excerpt=hit.excerpt)


def find_prompt(row: Prompt | Completion | Comparison | Judgment) -> Prompt:
    """Return the prompt a row is of."""
    if isinstance(row, Prompt):
        return row
    return row.comparison.prompt if isinstance(row, Judgment) else row.prompt


def open_prompt(prompt: Prompt) -> str:
    return shorten(str(prompt.messages[-1]["content"]))


def shorten(text: str) -> str:
    """Return the beginning of a text on one line."""
    words = " ".join(text[: 4 * OPENING_CHARS].split())
    is_whole = len(words) <= OPENING_CHARS and len(text) <= 4 * OPENING_CHARS
    return words if is_whole else f"{words[:OPENING_CHARS]}…"


def count_compared(prompts: Sequence[int]) -> dict[int, int]:
    """Return how many comparisons there are of each of these prompts that has any."""
    compared = Comparison.objects.filter(prompt__in=prompts)
    return dict(compared.values_list("prompt").annotate(n=Count("id")).order_by())


def list_completions(prompt: Prompt) -> list[tuple[Completion, ShownText]]:
    """Return the newest completions of a prompt, each with its text."""
    rows = prompt.completions.select_related("author").order_by("-id")[:SHOWN_COMPLETIONS]
    return [(row, ShownText(row.text)) for row in rows]
