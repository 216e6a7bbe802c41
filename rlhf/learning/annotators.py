"""What every annotator can do: choose between two completions, and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rlhf.contract.records import Message


@dataclass(frozen=True)
class Choice:
    """How likely the completion shown first is the better one. is_unclear: the answer named neither.

    refusal: why there is no answer, "" where there is one.
    """

    p: float
    n_tokens: int
    is_unclear: bool = False
    refusal: str = ""

    @classmethod
    def refuse(cls, cause: str) -> Choice:
        return cls(0.5, 0, is_unclear=True, refusal=cause)


@dataclass(frozen=True)
class Text:
    """What an annotator wrote. refusal: why it wrote nothing, "" where it did."""

    text: str
    n_tokens: int
    refusal: str = ""

    @classmethod
    def refuse(cls, cause: str) -> Text:
        return cls("", 0, refusal=cause)


class Annotator(Protocol):
    """Answers many questions at once, in their order."""

    def choose(self, questions: list[list[Message]]) -> list[Choice]:
        """Return one choice a question; the question ends by asking for the letter A or B."""

    def write(self, questions: list[list[Message]]) -> list[Text]:
        """Return one text a question."""
