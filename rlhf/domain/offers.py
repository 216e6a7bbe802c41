"""What a choice of pairs is made from: prompts with their completions, and the pairs chosen of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlhf.domain.terms import Terms


@dataclass(frozen=True)
class Candidate:
    """A completion of a prompt that may be shown.

    scores: one a head of the reward model, whose differences are log-odds; empty where nothing scored it. is_previous: the
    policy before the current one drew it.
    """

    text: str
    scores: tuple[float, ...] = ()
    is_previous: bool = False


@dataclass(frozen=True)
class Offer:
    """A prompt by id, the slice it falls into, and its different completions in the order they were drawn."""

    prompt: int
    slice: int | None
    candidates: tuple[Candidate, ...]

    @property
    def pairs(self) -> list[tuple[Candidate, Candidate]]:
        """Every two completions of the current policy."""
        return list(itertools.combinations([one for one in self.candidates if not one.is_previous], 2))

    @property
    def duels(self) -> list[tuple[Candidate, Candidate]]:
        """A completion of the current policy against one of the previous one."""
        current = [one for one in self.candidates if not one.is_previous]
        return list(itertools.product(current, [one for one in self.candidates if one.is_previous]))


@dataclass(frozen=True)
class Choice:
    """A pair to ask about. reason: "random" or "active", see labeling's Reason. score: what it would teach, any unit."""

    prompt: int
    text_a: str
    text_b: str
    reason: str
    propensity: float
    score: float = 0.0
    is_duel: bool = False


# (offers, n, terms, rng, judgments by slice) -> at most n choices, at most one an offer
Strategy = Callable[[Sequence[Offer], int, Terms, random.Random, Mapping[int | None, int]], list[Choice]]


def draw(
    offers: Sequence[Offer],
    n: int,
    rng: random.Random,
    *,
    pairs: Callable[[Offer], list[tuple[Candidate, Candidate]]],
    is_duel: bool = False,
) -> list[Choice]:
    """Draw n of the offers that have a pair, and one of the pairs of each."""
    usable = [offer for offer in offers if pairs(offer)]
    n = min(n, len(usable))
    choices = []
    for offer in rng.sample(usable, n):
        found = pairs(offer)
        a, b = rng.choice(found)
        propensity = n / len(usable) / len(found)
        choices.append(Choice(offer.prompt, a.text, b.text, "random", propensity, is_duel=is_duel))
    return choices
