"""JSONL rows that cross the seam, and the bytes they are hashed by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from rlhf.contract.errors import RecordError

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn of a conversation; role is system, user or assistant."""

    role: str
    content: str


class TextRow(TypedDict):
    """A pre-training document."""

    text: str


class DemonstrationRow(TypedDict):
    """A conversation to imitate; TRL's conversational language-modelling format. Rows without a source are people's."""

    messages: list[Message]
    source: NotRequired[str]
    annotator_kind: NotRequired[str]


class PreferenceRow(TypedDict):
    """One pair; prompt/chosen/rejected are TRL's conversational preference format, the rest are extra columns.

    target: p(chosen is better), 0.5 for a tie, 1 for a plain label. weight: >= 0, default 1.
    margin: strength of the preference, 0 .. 1. group: never split across train and test.
    annotator_kind: "ai" where a model said so; rows without it are people's. slice: of the project, which its prompt is of.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: NotRequired[float]
    weight: NotRequired[float]
    target: NotRequired[float]
    group: NotRequired[str]
    source: NotRequired[str]
    annotator_kind: NotRequired[str]
    slice: NotRequired[str]


class UnpairedRow(TypedDict):
    """A completion that is good or bad by itself; TRL's conversational unpaired format, and where it belongs."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    weight: NotRequired[float]
    group: NotRequired[str]
    split: NotRequired[str]


class PromptRow(TypedDict):
    """A prompt to sample from."""

    prompt_id: str
    prompt: list[Message]


class SampleRow(TypedDict):
    """One sampled completion. index: 0..n-1 within its prompt. finished: it ended with an end token."""

    prompt_id: str
    index: int
    text: str
    n_tokens: int
    finished: bool
    seed: int


def read_conversation(row: Any) -> list[Message]:
    """Return the conversation of a demonstration in any of its three spellings. Raises: RecordError.

    Args: row: {"messages"}, {"prompt", "completion"} (texts or lists of messages), or Alpaca's {"instruction", "input",
        "output"}, of which the input may be missing or empty; each with a "system" text if it has one.
    """
    if not isinstance(row, dict):
        raise RecordError(f"a row must be an object, got {row!r:.60}")
    if "messages" in row:
        messages = as_messages(row["messages"], role="user")
    elif "prompt" in row and "completion" in row:
        messages = as_messages(row["prompt"], role="user") + as_messages(row["completion"], role="assistant")
    elif "instruction" in row and "output" in row:
        asked = [message["content"] for key in ("instruction", "input") for message in as_turn(row.get(key), "user")]
        messages = as_turn("\n\n".join(asked), "user") + as_turn(row["output"], "assistant")
    else:
        raise RecordError(
            f"a row must have messages, prompt and completion, or instruction and output, got {', '.join(row) or 'none'}"
        )
    if row.get("system"):
        messages = as_messages(row["system"], role="system") + messages
    return messages


def read_unpaired(row: Any) -> list[UnpairedRow]:
    """Return the judged completions of a row: its own one with its label, or a pair's two. Raises: RecordError.

    A pair that is a tie says of neither completion that it is good or bad: it has none.
    """
    if not isinstance(row, dict) or "prompt" not in row:
        raise RecordError("a row must have prompt, completion and label, or prompt, chosen and rejected")
    prompt = as_messages(row["prompt"], role="user")
    weight = float(row.get("weight", 1.0))
    if isinstance(row.get("label"), bool) and "completion" in row:
        sides = [(row["completion"], row["label"])]
    elif "chosen" in row and "rejected" in row:
        target = float(row.get("target", 1.0))
        sides = [] if target == 0.5 else [(row["chosen"], target > 0.5), (row["rejected"], target < 0.5)]
    else:
        raise RecordError("a row must have prompt, completion and label, or prompt, chosen and rejected")
    return [
        UnpairedRow(prompt=prompt, completion=as_messages(text, role="assistant"), label=label, weight=weight)
        for text, label in sides
    ]


def as_turn(text: Any, role: str) -> list[Message]:
    """Return a text as one message, nothing for none. Raises: RecordError."""
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        raise RecordError(f"expected a text, got {text!r:.60}")
    return [Message(role=role, content=text)]


def as_messages(value: Any, *, role: str) -> list[Message]:
    """Return a list of messages, or a text as one message of `role`. Raises: RecordError."""
    if isinstance(value, str):
        return as_turn(value, role)
    if not isinstance(value, list) or not value:
        raise RecordError(f"expected a text or a list of messages, got {value!r:.60}")
    for message in value:
        known = isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)
        if not known:
            raise RecordError(
                f"a message must have a role ({', '.join(ROLES)}) and a text as content, got {message!r:.60}"
            )
    return [Message(role=message["role"], content=message["content"]) for message in value]


class ScorableRow(TypedDict):
    """A sampled completion and its prompt, to be scored."""

    prompt_id: str
    index: int
    prompt: list[Message]
    text: str
    finished: bool


class ScoreRow(TypedDict):
    """What each head of a reward model says of one sample, in its own units."""

    prompt_id: str
    index: int
    scores: list[float]


def canonical_line(row: Any) -> bytes:
    """Return the one spelling of a row: UTF-8, sorted keys, no spaces, a newline. Raises: RecordError (NaN, surrogates)."""
    try:
        text = json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8") + b"\n"
    except (ValueError, UnicodeEncodeError) as error:
        raise RecordError(f"row cannot be written: {error}") from error


def hash_lines(lines: Iterable[bytes]) -> str:
    """Return the sha256 hex digest of the lines joined."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write rows as canonical JSONL and return how many."""
    n_rows = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(canonical_line(row))
            n_rows += 1
    return n_rows


def read_rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a JSONL file. Raises: RecordError naming file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RecordError(f"{path.name} line {number}: {error}") from error
