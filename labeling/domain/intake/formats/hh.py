"""Anthropic's HH-RLHF: two transcripts a row, the better one under "chosen"."""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.items import Pair, ParsedRow, get_text
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import Turn, split_dialogues

SPEAKER = re.compile(r"\n\n(Human|Assistant):")
ROLE_OF_SPEAKER = {"Human": "user", "Assistant": "assistant"}


def matches(row: dict[str, Any]) -> bool:
    return "prompt" not in row and all(
        isinstance(row.get(key), str) and SPEAKER.match(row[key]) for key in ("chosen", "rejected")
    )


def read(row: dict[str, Any]) -> ParsedRow:
    prompt, better, worse = split_dialogues(read_transcript(row, "chosen"), read_transcript(row, "rejected"))
    return ParsedRow([Pair(prompt, better, worse)])


def read_transcript(row: dict[str, Any], key: str) -> list[Turn]:
    before, *spoken = SPEAKER.split(get_text(row, key))
    if before or not spoken:
        raise RowRefused(_('%(key)s must be a transcript that begins with "\\n\\nHuman:"'), key=key)
    return [Turn(ROLE_OF_SPEAKER[speaker], raw) for speaker, raw in zip(spoken[::2], spoken[1::2], strict=True)]
