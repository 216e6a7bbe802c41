"""What several votes on one comparison come to. Plain numbers: no database here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Vote:
    """One person's last word, or a recorded vote: strength -3 (A) .. +3 (B), and which row said it."""

    strength: int
    both_bad: bool = False
    source: str = "own"
    guideline: int | None = None
    judgment_id: int | None = None
    imported_judgment_id: int | None = None


class Outcome(StrEnum):
    """What the votes on a comparison came to; only A and B make a pair."""

    A = "A"
    B = "B"
    TIE = "ties"
    BOTH_BAD = "both_bad"
    DISAGREEMENT = "disagreements"
    TOO_FEW = "too_few_judgments"


def classify_vote(vote: Vote) -> Outcome:
    """Return what one vote says; "both bad" outweighs the preference given with it."""
    if vote.both_bad:
        return Outcome.BOTH_BAD
    if vote.strength == 0:
        return Outcome.TIE
    return Outcome.A if vote.strength < 0 else Outcome.B


def decide_majority(votes: Sequence[Vote], *, min_judgments: int = 1) -> Outcome:
    """Return what more than half of the votes say."""
    if len(votes) < max(min_judgments, 1):
        return Outcome.TOO_FEW
    outcome, n_votes = Counter(classify_vote(vote) for vote in votes).most_common(1)[0]
    return outcome if 2 * n_votes > len(votes) else Outcome.DISAGREEMENT


def compute_margin(votes: Sequence[Vote], outcome: Outcome) -> float:
    """Return how strongly the majority prefers its side: 1/3, 2/3 or 1, its mean strength rounded to a whole step."""
    strengths = [abs(vote.strength) for vote in votes if classify_vote(vote) == outcome]
    return int(sum(strengths) / len(strengths) + 0.5) / 3
