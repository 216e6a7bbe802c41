"""Turns of a dialogue: where two dialogues part, and how the rest of one is written as a completion."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message, check_text
from labeling.domain.intake.refusals import RowRefused

LABELS = {"user": "Human", "assistant": "Assistant", "system": "System"}
# OpenAI's newer name for the system's turn.
ROLE_OF = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


class Turn(NamedTuple):
    """One turn as written: raw is all that follows "Human:" or "Assistant:", its leading space included."""

    role: str
    raw: str


def read_messages(value: list[Any]) -> list[Message]:
    """Return chat messages as {role, content}. Raises: RowRefused, also when a tool or an image would be lost."""
    messages: list[Message] = []
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RowRefused(_("a message must be an object with role and content"))
        if message["role"] not in ROLE_OF:
            raise RowRefused(
                _("a message's role must be one of %(names)s, got %(role)s"),
                names=", ".join(ROLE_OF),
                role=repr(message["role"]),
            )
        if message.get("tool_calls") or message.get("function_call"):
            raise RowRefused(_("a message calls a tool; only text can be compared here"))
        messages.append({"role": ROLE_OF[message["role"]], "content": read_content(message.get("content"))})
    return messages


def read_content(content: object) -> str:
    """Return a message's text, given as a string or as OpenAI's list of text parts. Raises: RowRefused."""
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise RowRefused(_("a message holds something other than text; only text can be compared here"))
        return "".join(check_text(part.get("text"), what="a text part") for part in content)
    if not isinstance(content, str):
        raise RowRefused(_("a message's content must be a string, got %(kind)s"), kind=type(content).__name__)
    return content


def to_turns(messages: list[Message]) -> list[Turn]:
    return [Turn(message["role"], f" {message['content']}") for message in messages]


def to_messages(turns: list[Turn]) -> list[Message]:
    return [{"role": turn.role, "content": turn.raw.removeprefix(" ")} for turn in turns]


def split_dialogues(chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Message], str, str]:
    """Return the turns two dialogues share as a prompt, and what each says from there on as a completion.

    The prompt ends with the last shared turn that both sides let the assistant answer. Raises: RowRefused without one.
    """
    n_shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        n_shared += 1
    for n in range(n_shared, 0, -1):
        sides = chosen[n : n + 1] + rejected[n : n + 1]
        if chosen[n - 1].role != "assistant" and [turn.role for turn in sides] == ["assistant", "assistant"]:
            return to_messages(chosen[:n]), join_turns(chosen[n:]), join_turns(rejected[n:])
    raise RowRefused(_("the two dialogues share no turn that the assistant answers in both"))


def join_turns(turns: list[Turn]) -> str:
    """Return the assistant's turn and all that follows it as one completion, later turns verbatim as a transcript."""
    if not turns or turns[0].role != "assistant":
        raise RowRefused(_("a completion must begin with the assistant's turn"))
    later = "".join(f"\n\n{LABELS[turn.role]}:{turn.raw}" for turn in turns[1:])
    return turns[0].raw.removeprefix(" ") + later
