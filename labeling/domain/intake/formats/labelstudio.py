"""Label Studio's JSON export of its pairwise template: a task a row, a vote an annotation."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message
from labeling.domain.intake.items import Item, Pair, ParsedRow, get_list, get_text
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.turns import read_messages

PROMPT_KEYS = ("prompt", "question", "instruction", "messages", "text")
# What the templates call the two texts; a project of one's own is read by the names its annotations point at.
ANSWER_KEYS = (("answer1", "answer2"), ("text1", "text2"), ("response1", "response2"), ("answer_a", "answer_b"))


def matches(row: dict[str, Any]) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def read(row: dict[str, Any]) -> ParsedRow:
    data, notes = row.get("data"), Counter[str]()
    if not isinstance(data, dict) or not isinstance(row.get("annotations"), list):
        raise RowRefused(
            _("a task must have data and a list of annotations: choose the export format JSON, not JSON-MIN")
        )
    prompt = read_prompt(data)
    items: list[Item] = []
    for annotation in row["annotations"]:
        if not isinstance(annotation, dict):
            raise RowRefused(_("an annotation must be an object"))
        if annotation.get("was_cancelled"):
            notes["skipped annotations"] += 1
            continue
        choice = find_choice(annotation.get("result"))
        if choice is None:
            notes["annotations without a choice"] += 1
            continue
        left, right = read_sides(data, choice)
        is_left = choice["value"]["selected"] == "left"
        items.append(Pair(prompt, *((left, right) if is_left else (right, left))))
    if not row["annotations"]:
        notes["tasks without annotations"] += 1
    return ParsedRow(items, notes)


def read_prompt(data: dict[str, Any]) -> list[Message]:
    key = next((key for key in PROMPT_KEYS if key in data), None)
    if key is None:
        raise RowRefused(_("data has no prompt; it is looked for under %(names)s"), names=", ".join(PROMPT_KEYS))
    if isinstance(data[key], list):
        return read_messages(get_list(data, key))
    return [{"role": "user", "content": get_text(data, key)}]


def find_choice(result: object) -> dict[str, Any] | None:
    """Return the region in which a side was chosen; "none" is how the tool says that a choice was taken back."""
    for region in result if isinstance(result, list) else []:
        value = region.get("value") if isinstance(region, dict) else None
        if isinstance(value, dict) and value.get("selected") in ("left", "right"):
            return dict(region)
    return None


def read_sides(data: dict[str, Any], choice: dict[str, Any]) -> tuple[str, str]:
    """Return the left and the right text: those the choice points at, or those the templates name."""
    pointed = tuple(str(choice.get("to_name", "")).split(","))
    for names in (pointed, *ANSWER_KEYS):
        if len(names) == 2 and all(name in data for name in names):
            return get_text(data, names[0]), get_text(data, names[1])
    raise RowRefused(
        _("data has neither %(names)s nor %(others)s"),
        names=" and ".join(pointed),
        others=" and ".join(ANSWER_KEYS[0]),
    )
