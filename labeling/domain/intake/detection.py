"""Which format a file is in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import UNSTORABLE, Message
from labeling.domain.errors import InvalidContent
from labeling.domain.intake.formats import alpaca, argilla, hh, labelstudio, oasst, openai, prompts, trl
from labeling.domain.intake.items import ParsedRow
from labeling.domain.intake.refusals import FileRefused, FormatUnknown
from labeling.domain.intake.report import clean
from labeling.domain.intake.turns import read_messages

MODULES = {
    "trl": trl,
    "hh": hh,
    "openai": openai,
    "oasst": oasst,
    "alpaca": alpaca,
    "labelstudio": labelstudio,
    "argilla": argilla,
}
N_VALUES_SHOWN, N_CHARS_SHOWN, N_COLUMNS_SHOWN, N_TURNS_SHOWN = 3, 80, 100, 4


@dataclass(frozen=True)
class Format:
    """How rows of one format are recognised and read. read raises InvalidContent."""

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], ParsedRow]


FORMATS = {name: Format(name, module.matches, module.read) for name, module in MODULES.items()}
PROMPTS = Format("prompts", prompts.matches, prompts.read)


def find_format(name: str) -> Format | None:
    """Return a format by its name; None, the format to be detected, for any other."""
    return PROMPTS if name == PROMPTS.name else FORMATS.get(name)


def detect_format(rows: Iterable[dict[str, Any]]) -> Format:
    """Return the one format that all rows look like.

    Raises: FormatUnknown when there is none, FileRefused when there is more than one.
    """
    found: dict[str, Format] = {}
    seen: list[dict[str, Any]] = []
    for row in rows:
        seen.append(row)
        found |= {format.name: format for format in FORMATS.values() if format.matches(row)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise FileRefused(
            _("the first rows look like %(names)s: choose one with --format"), names=" and ".join(sorted(found))
        )
    keys = list(seen[0])[:8] if seen else []
    raise FormatUnknown(
        f"no known format has a row with the keys {', '.join(keys) or '(none)'}; "
        f"the formats are {', '.join(FORMATS)}, see docs/formats.md",
        show_columns(seen),
    )


def show_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of the first rows with their first values, cut short, for people to say what they are."""
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if len(name) > N_CHARS_SHOWN or UNSTORABLE.search(name):
                continue
            values = columns.setdefault(name, [])
            if value not in (None, "") and len(values) < N_VALUES_SHOWN:
                values.append(show_value(value))
    return dict(list(columns.items())[:N_COLUMNS_SHOWN])


def show_value(value: Any) -> str | list[Message]:
    """Return a value cut short: messages as messages, other lists and objects as JSON, the rest as a mapping reads it."""
    if not isinstance(value, (list, dict)):
        return clean(str(value), N_CHARS_SHOWN)
    try:
        messages = read_messages(value) if isinstance(value, list) else []
    except InvalidContent:
        messages = []
    if not messages:
        return clean(json.dumps(value, ensure_ascii=False), N_CHARS_SHOWN)
    return [message | {"content": clean(message["content"], N_CHARS_SHOWN)} for message in messages[:N_TURNS_SHOWN]]
