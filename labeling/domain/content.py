"""What text may enter, and the names (hashes) it goes by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _

from labeling.domain.errors import InvalidContent

ROLES = ("system", "user", "assistant", "tool")
# SQLite would keep both, PostgreSQL refuses them: neither gets in.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Message = dict[str, str]


def check_text(text: object, *, what: str) -> str:
    """Return `text` as it came, or raise InvalidContent naming the character both databases cannot keep."""
    if not isinstance(text, str):
        raise InvalidContent(_("%(what)s must be text, got %(kind)s") % {"what": what, "kind": type(text).__name__})
    if found := UNSTORABLE.search(text):
        code = f"U+{ord(found.group()):04X}"
        name = _("a NUL character") if code == "U+0000" else _("half a surrogate pair (%s)") % code
        words = {"what": what, "name": name, "at": found.start()}
        raise InvalidContent(_("%(what)s holds %(name)s at position %(at)d: remove it") % words)
    return text


def check_messages(messages: Sequence[Mapping[str, object]]) -> list[Message]:
    """Return a conversation as plain {role, content} messages that ends where a completion begins."""
    if not messages:
        raise InvalidContent("a prompt needs at least one message")
    checked = [check_message(message, number=number) for number, message in enumerate(messages, start=1)]
    if checked[-1]["role"] == "assistant":
        raise InvalidContent("a prompt ends before the assistant speaks: move its last message to the completions")
    return checked


def check_message(message: Mapping[str, object], *, number: int) -> Message:
    """Return one message, or raise InvalidContent naming its number."""
    if set(message) != {"role", "content"}:
        raise InvalidContent(f"message {number} must have exactly role and content, got {sorted(map(str, message))}")
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidContent(f"message {number} has role {role!r}: use one of {', '.join(ROLES)}")
    return {"role": role, "content": check_text(message["content"], what=f"message {number}")}


def hash_opening(messages: Sequence[Message]) -> str:
    """Return the sha256 of a conversation up to its first user turn: longer talks that begin alike share it."""
    roles = [message["role"] for message in messages]
    return hash_messages(messages[: roles.index("user") + 1] if "user" in roles else messages)


def check_group(group: str) -> str:
    """Return the name of a group of prompts, or raise InvalidContent."""
    check_text(group, what="the group")
    if not 1 <= len(group) <= 64:
        raise InvalidContent(f"the group must have 1 to 64 characters, got {len(group)}")
    return group


def check_label(text: str, *, what: str, max_chars: int) -> None:
    """Raise InvalidContent unless the text fits its column."""
    if len(check_text(text, what=what)) > max_chars:
        words = {"what": what, "most": max_chars, "n": len(text)}
        raise InvalidContent(_("%(what)s must have at most %(most)d characters, got %(n)d") % words)


def hash_text(text: str) -> str:
    """Return the sha256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_messages(messages: Sequence[Message]) -> str:
    """Return the sha256 of the canonical JSON of a conversation."""
    return hash_text(json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def hash_pair(prompt_sha: str, text_a: str, text_b: str) -> str:
    """Return the name of a comparison: the same whichever completion is called A."""
    return hash_text("\n".join([prompt_sha, *sorted([hash_text(text_a), hash_text(text_b)])]))
