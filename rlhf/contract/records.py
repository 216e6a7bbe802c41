"""JSONL rows that cross the seam, and the bytes they are hashed by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from rlhf.contract.errors import RecordError


class Message(TypedDict):
    """One turn of a conversation; role is system, user or assistant."""

    role: str
    content: str


class TextRow(TypedDict):
    """A pre-training document."""

    text: str


class DemonstrationRow(TypedDict):
    """A conversation to imitate; TRL's conversational language-modelling format."""

    messages: list[Message]


class PreferenceRow(TypedDict):
    """One pair; prompt/chosen/rejected are TRL's conversational preference format, the rest are extra columns.

    target: p(chosen is better), 0.5 for a tie, 1 for a plain label. weight: >= 0, default 1.
    margin: strength of the preference, 0, 1/3, 2/3 or 1. group: never split across train and test.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: NotRequired[float]
    weight: NotRequired[float]
    target: NotRequired[float]
    group: NotRequired[str]
    source: NotRequired[str]


class UnpairedRow(TypedDict):
    """A completion that is good or bad by itself; TRL's conversational unpaired format, and where it belongs."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
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
