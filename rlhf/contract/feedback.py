"""JSONL rows of AI feedback: what an annotator is asked, and what it said."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from rlhf.contract.records import Message


class ComparisonQuestion(TypedDict):
    """Two completions to compare under a principle. text: the principle as a comparison, e.g. "Choose the kinder one"."""

    comparison_id: str
    prompt: list[Message]
    a: str
    b: str
    principle: str
    text: str


class Principle(TypedDict):
    """One principle in the words of each question."""

    id: str
    critique: str
    revision: str
    comparison: str
    tags: NotRequired[list[str]]
    weight: NotRequired[float]


class RevisionQuestion(TypedDict):
    """A completion to revise, once for each principle, in order."""

    completion_id: str
    prompt: list[Message]
    text: str
    principles: list[Principle]


class ComparisonAnswer(TypedDict):
    """How likely A is the better one. p_ab: asked with A first; p_ba: with B first, None when asked once.

    p: their mean, and 0.5 where they name different winners (is_flip) or an answer named neither side (is_unclear).
    p_raw: the same before whoever reasons first is kept near a half; by it one tells the unsure.
    is_refused: not answered at all, for the reason that critique gives.
    """

    comparison_id: str
    principle: str
    p: float
    p_raw: float
    p_ab: float
    p_ba: float | None
    is_flip: bool
    is_unclear: bool
    is_refused: bool
    critique: str
    n_tokens: int


class RevisionAnswer(TypedDict):
    """One rewriting. turn: from 1. text: the completion as it stands after this turn.

    is_refused: the turn left it as it was, for the reason that critique gives.
    """

    completion_id: str
    turn: int
    principle: str
    critique: str
    text: str
    is_refused: bool
    n_tokens: int
