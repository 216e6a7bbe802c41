"""What a text may be, and the hashes by which equal content is found again.

Every prompt, completion and comparison is hashed here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, TypedDict

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn of a conversation; role is one of ROLES."""

    role: str
    content: str


class ContentError(ValueError):
    """A text or conversation that cannot be stored as it is; the message says why."""


def check_text(text: object) -> str:
    """Return `text`, byte for byte. Raises: ContentError unless it is a str without NUL and lone surrogates.

    PostgreSQL refuses NUL and UTF-8 has no lone surrogates: SQLite alone would take both and break later.
    """
    if not isinstance(text, str):
        raise ContentError(f"a text must be a string, got {type(text).__name__}")
    if "\x00" in text:
        raise ContentError(f"a text holds the character NUL at position {text.index(chr(0))}; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ContentError(f"a text holds a lone surrogate at position {error.start}; it is not valid Unicode") from error
    return text


def check_messages(messages: object) -> list[Message]:
    """Return `messages` as plain {role, content} rows. Raises: ContentError when it is not a conversation."""
    if not isinstance(messages, list) or not messages:
        raise ContentError("a prompt must be a list of at least one {role, content} message")
    checked: list[Message] = []
    for message in messages:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise ContentError("a message must have role and content and nothing else")
        if message["role"] not in ROLES:
            raise ContentError(f"a message's role must be one of {', '.join(ROLES)}, got {message['role']!r}")
        checked.append({"role": message["role"], "content": check_text(message["content"])})
    return checked


def hash_messages(messages: Sequence[Message]) -> str:
    """Return the sha256 of a conversation in canonical JSON."""
    return _hash_json([{"role": message["role"], "content": message["content"]} for message in messages])


def hash_text(text: str) -> str:
    """Return the sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_comparison(prompt_sha: str, text_a: str, text_b: str) -> str:
    """Return the sha256 of a prompt's hash and two completions, the same whichever comes first."""
    return _hash_json([prompt_sha, *sorted((hash_text(text_a), hash_text(text_b)))])


def _hash_json(value: Any) -> str:
    return hash_text(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
