"""TRL's preference format: prompt, chosen, rejected, as strings or messages, the prompt explicit or shared by both."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message
from labeling.domain.intake.formats import hh
from labeling.domain.intake.items import BINARY_STRENGTH, Pair, ParsedRow, get_list, get_text
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import join_turns, read_messages, split_dialogues, to_turns
from labeling.models.scales import MARGINS, to_seven

# What this program's own export writes in the margin column, of whatever scale, as the nearest of seven steps.
STRENGTH_OF_MARGIN = {
    margin: to_seven(strength, scale)
    for scale, margins in MARGINS.items()
    for strength, margin in enumerate(margins)
    if strength
}


def matches(row: dict[str, Any]) -> bool:
    return "chosen" in row and "rejected" in row and not hh.matches(row)


def read(row: dict[str, Any]) -> ParsedRow:
    prompt, better, worse = read_sides(row)
    margin = row.get("margin")
    strength = STRENGTH_OF_MARGIN.get(margin, BINARY_STRENGTH) if isinstance(margin, float) else BINARY_STRENGTH
    group = get_text(row, "group") if row.get("group") is not None else None
    return ParsedRow([Pair(prompt, better, worse, strength=strength, group=group)])


def read_sides(row: dict[str, Any]) -> tuple[list[Message], str, str]:
    if isinstance(row.get("chosen"), str) or isinstance(row.get("rejected"), str):
        return read_texts(row)
    chosen, rejected = (read_messages(get_list(row, key)) for key in ("chosen", "rejected"))
    prompt = row.get("prompt")
    if isinstance(prompt, list) and prompt:
        messages = read_messages(prompt)
        return messages, read_rest(messages, chosen), read_rest(messages, rejected)
    if isinstance(prompt, str) and chosen[0]["role"] == rejected[0]["role"] == "assistant":
        messages = [{"role": "user", "content": prompt}]
        return messages, read_rest(messages, chosen), read_rest(messages, rejected)
    if prompt is not None and not isinstance(prompt, str):
        raise RowRefused(_("prompt must be a string or a list of messages, got %(kind)s"), kind=type(prompt).__name__)
    # Without a prompt column, or with one that only repeats the first user turn.
    return split_dialogues(to_turns(chosen), to_turns(rejected))


def read_texts(row: dict[str, Any]) -> tuple[list[Message], str, str]:
    chosen, rejected = get_text(row, "chosen"), get_text(row, "rejected")
    prompt = row.get("prompt")
    if isinstance(prompt, list) and prompt:
        return read_messages(prompt), chosen, rejected
    if prompt is None:
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
        prompt = "".join(letter for letter, _ in alike)
        if prompt[-1:] == " ":
            prompt = prompt[:-1]  # TRL, too, leaves the space to the completions
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        if not prompt.strip():
            raise RowRefused(_("the row lacks prompt, and chosen and rejected do not begin alike"))
    if not isinstance(prompt, str):
        raise RowRefused(_("prompt must be a string or a list of messages, got %(kind)s"), kind=type(prompt).__name__)
    return [{"role": "user", "content": prompt}], chosen, rejected


def read_rest(prompt: list[Message], side: list[Message]) -> str:
    """Return a side as a completion; many data sets repeat the prompt at its beginning."""
    return join_turns(to_turns(side[len(prompt) :] if side[: len(prompt)] == prompt else side))
