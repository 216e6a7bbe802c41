"""Which format a file is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from labeling.domain.intake.formats import alpaca, hh, oasst, openai, prompts, trl
from labeling.domain.intake.items import ParsedRow
from labeling.domain.intake.refusals import FileRefused


@dataclass(frozen=True)
class Format:
    """How rows of one format are recognised and read. read raises InvalidContent."""

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], ParsedRow]


FORMATS = {
    name: Format(name, module.matches, module.read)
    for name, module in {"trl": trl, "hh": hh, "openai": openai, "oasst": oasst, "alpaca": alpaca}.items()
}
PROMPTS = Format("prompts", prompts.matches, prompts.read)


def detect_format(rows: Iterable[dict[str, Any]]) -> Format:
    """Return the one format that all rows look like. Raises: FileRefused when there is none, or more than one."""
    found: dict[str, Format] = {}
    keys: list[str] = []
    for row in rows:
        keys = keys or list(row)[:8]
        found |= {format.name: format for format in FORMATS.values() if format.matches(row)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise FileRefused(f"the first rows look like {' and '.join(sorted(found))}: choose one with --format")
    raise FileRefused(
        f"no known format has a row with the keys {', '.join(keys) or '(none)'}; "
        f"the formats are {', '.join(FORMATS)}, see docs/formats.md"
    )
