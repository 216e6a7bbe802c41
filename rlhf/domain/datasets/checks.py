"""What a row of each format must be: every exported row is held against this before it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlhf.domain.errors import LearningError

Check = Callable[[Any], bool]
ROLES = ("system", "user", "assistant", "tool")


class ExportRefused(LearningError):
    """The dataset cannot be written in this format or to this place."""


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def is_messages(value: Any) -> bool:
    """A conversation in TRL's words: role and content, and nothing else."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict)
            and len(message) == 2
            and message.get("role") in ROLES
            and isinstance(message.get("content"), str)
            for message in value
        )
    )


def is_question(value: Any) -> bool:
    """A conversation that ends where a completion begins."""
    return is_messages(value) and value[-1]["role"] != "assistant"


def is_answer(value: Any) -> bool:
    """What the assistant says next."""
    return is_messages(value) and value[0]["role"] == "assistant"


def is_conversation(value: Any) -> bool:
    """A conversation whose last word is the assistant's, so that there is something to learn."""
    return is_messages(value) and value[-1]["role"] == "assistant"


def is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("\n\nHuman: ") and "\n\nAssistant: " in value


def is_request(value: Any) -> bool:
    return isinstance(value, dict) and is_question(value.get("messages"))


def is_annotator_kind(value: Any) -> bool:
    return value in ("human", "ai")


PREFERENCE: dict[str, Check] = {"prompt": is_question, "chosen": is_answer, "rejected": is_answer}
REQUIRED: dict[str, dict[str, Check]] = {
    "trl": PREFERENCE,
    "parquet": PREFERENCE,
    "hh": {"chosen": is_transcript, "rejected": is_transcript},
    "openai": {"input": is_request, "preferred_output": is_answer, "non_preferred_output": is_answer},
    "kto": {"prompt": is_question, "completion": is_answer, "label": is_bool},
    "sft": {"messages": is_conversation},
    "demonstration": {"messages": is_conversation},
    "text": {"text": is_text},
    "prompt": {"prompt_id": is_text, "prompt": is_question},
}
OPTIONAL: dict[str, Check] = {
    "margin": is_number,
    "weight": is_number,
    "target": is_number,
    "group": is_text,
    "source": is_text,
    "slice": is_text,
    "annotator_kind": is_annotator_kind,
}


def check_row(row: dict[str, Any], name: str, *, number: int) -> dict[str, Any]:
    """Return a row that is one of its format. name: the format, or the kind of dataset. Raises: ExportRefused."""
    required = REQUIRED[name]
    for column, check in required.items():
        if column not in row or not check(row[column]):
            raise ExportRefused(f"row {number} is no {name} row: {column} is missing or not what it should be")
    for column in row.keys() - required.keys():
        if column not in OPTIONAL or not OPTIONAL[column](row[column]):
            raise ExportRefused(f"row {number} is no {name} row: {column} does not belong there")
    return row
