"""What a row of an imported file may turn into, checked when made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_noop as _

from labeling.domain.content import Message, check_messages, check_text
from labeling.domain.intake.refusals import RowRefused

# A source that only says which one is better says "better": the middle of the three steps.
BINARY_STRENGTH = 2
# A pair's group column is as long as this; our own groups are sha256 digests.
GROUP_LENGTH = 64


@dataclass(frozen=True)
class Pair:
    """Two completions and the vote recorded on them: `better` won by `strength` steps, 0 is a tie, None: nobody voted.

    both_bad: whether it was said that neither is any good; strength is then 0.
    """

    prompt: list[Message]
    better: str
    worse: str
    strength: int | None = BINARY_STRENGTH
    group: str | None = None
    both_bad: bool = False

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if check_text(self.better, what="the better completion") == check_text(self.worse, what="the worse completion"):
            raise RowRefused(_("both completions are the same text: there is nothing to compare"))
        if self.group is not None and not 0 < len(check_text(self.group, what="group")) <= GROUP_LENGTH:
            raise RowRefused(
                _("group must have 1 to %(n_most)s characters, got %(n)s"),
                n_most=GROUP_LENGTH,
                n=len(self.group),
            )


@dataclass(frozen=True)
class Example:
    """A completion worth imitating."""

    prompt: list[Message]
    text: str

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if not check_text(self.text, what="the completion").strip():
            raise RowRefused(_("the completion is empty: there is nothing to imitate"))


@dataclass(frozen=True)
class Question:
    """A prompt that waits for completions."""

    prompt: list[Message]

    def __post_init__(self) -> None:
        check_prompt(self.prompt)


Item = Pair | Example | Question


@dataclass(frozen=True)
class ParsedRow:
    """What one row holds, and the slice it says it is of; notes counts what was left out on purpose, by reason."""

    items: list[Item]
    notes: Counter[str] = field(default_factory=Counter)
    slice_name: str = ""
    language: str = ""


def check_prompt(messages: list[Message]) -> None:
    """Refuse a conversation that no completion can follow. Raises: InvalidContent."""
    if not check_messages(messages)[-1]["content"].strip():
        raise RowRefused(_("the last message of the prompt is empty"))


def get_text(row: dict[str, Any], key: str) -> str:
    """Return row[key]. Raises: RowRefused unless it is a string."""
    if key not in row:
        raise RowRefused(_("the row lacks %(key)s"), key=key)
    if not isinstance(row[key], str):
        raise RowRefused(_("%(key)s must be a string, got %(kind)s"), key=key, kind=type(row[key]).__name__)
    return str(row[key])


def get_list(row: dict[str, Any], key: str) -> list[Any]:
    """Return row[key]. Raises: RowRefused unless it is a list that holds something."""
    if key not in row:
        raise RowRefused(_("the row lacks %(key)s"), key=key)
    if not isinstance(row[key], list) or not row[key]:
        raise RowRefused(_("%(key)s must be a list with at least one element"), key=key)
    return list(row[key])
