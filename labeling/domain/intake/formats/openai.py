"""OpenAI's preference fine-tuning format: input.messages, preferred_output, non_preferred_output."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.items import Pair, ParsedRow, get_list
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import join_turns, read_messages, to_turns


def matches(row: dict[str, Any]) -> bool:
    return {"input", "preferred_output", "non_preferred_output"} <= row.keys()


def read(row: dict[str, Any]) -> ParsedRow:
    request = row.get("input")
    if not isinstance(request, dict):
        raise RowRefused(_("input must be an object with messages"))
    if request.get("tools"):
        raise RowRefused(_("input offers tools; only text can be compared here"))
    prompt = read_messages(get_list(request, "messages"))
    better, worse = (
        join_turns(to_turns(read_messages(get_list(row, key)))) for key in ("preferred_output", "non_preferred_output")
    )
    return ParsedRow([Pair(prompt, better, worse)])
