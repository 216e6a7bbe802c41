"""Stanford Alpaca's demonstrations {instruction, input, output}, and the seed tasks they were grown from."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.items import Example, ParsedRow, get_list, get_text
from labeling.domain.intake.refusals import RowRefused


def matches(row: dict[str, Any]) -> bool:
    return "instruction" in row and ("output" in row or "instances" in row)


def read(row: dict[str, Any]) -> ParsedRow:
    instruction = get_text(row, "instruction")
    answer = row
    if "instances" in row:
        instances = get_list(row, "instances")
        if len(instances) != 1 or not isinstance(instances[0], dict):
            raise RowRefused(_("a row must hold one instance, got %(n)s: give each a row of its own"), n=len(instances))
        answer = instances[0]
    question = get_text(answer, "input") if answer.get("input") else ""
    content = f"{instruction}\n\n{question}" if question else instruction
    return ParsedRow([Example([{"role": "user", "content": content}], get_text(answer, "output"))])
