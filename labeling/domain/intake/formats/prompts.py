"""Prompts alone: TRL's prompt-only rows, plain {"prompt"} texts, and MT-bench questions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.items import ParsedRow, Question, get_list, get_text
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import read_messages


def matches(row: dict[str, Any]) -> bool:
    return ("prompt" in row) != ("turns" in row)


def read(row: dict[str, Any]) -> ParsedRow:
    if "turns" in row:
        first, *later = get_list(row, "turns")
        if not isinstance(first, str):
            raise RowRefused(_("turns must hold strings, got %(kind)s"), kind=type(first).__name__)
        # A later turn speaks of an answer that is not there yet.
        return ParsedRow([Question([{"role": "user", "content": first}])], +Counter({"later turns": len(later)}))
    if isinstance(row.get("prompt"), list):
        return ParsedRow([Question(read_messages(get_list(row, "prompt")))])
    return ParsedRow([Question([{"role": "user", "content": get_text(row, "prompt")}])])
