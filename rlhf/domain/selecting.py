"""Which pairs people are asked about: an arm of chance, duels with the previous policy, and the loop's strategy.

A round samples more prompts than it queues (`POOL`), a `score` run may let the reward model's heads score every sample,
and `select_pairs` picks one pair a prompt. It sees plain data and a source of chance, never the database: what it was
given and the seed make the same choice again.

The arms, in the order in which they pick from the pool:

1. Control. `random_share` of the pairs, a tenth at least, are two of the current policy's completions of a prompt,
   prompt and completions drawn by chance. Whatever a strategy does, figures over these pairs alone are unbiased.
2. Duels. `previous_share` of the pairs have a completion of the previous policy on their other side, drawn by chance:
   the win rate of one policy over the other, for free. What a prompt without two different completions is good for.
3. The strategy: one function of `strategies.STRATEGIES` for the rest. To add one, write
   `(offers, n, terms, rng, n_judged) -> choices` and name it after a member of Loop.Strategy: it gets the offers the
   other arms left, returns at most n choices, at most one an offer, with reason "active" unless chance alone picked
   them, and with what it believes a judgment would teach as the score (labelers are asked for higher scores first).

Propensity is the probability, over the draws of `rng` and given the offers, with which its arm picked this pair: the
weight of its judgment in an estimate over the pool is 1 / propensity, arm by arm. A strategy says how probably it picks
among what it is given; `select_pairs` multiplies that by the chance of an offer to be left to it. One that takes the n
best for certain says 1.0, and estimates over the whole pool then rest on the control arm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from rlhf.domain.offers import Choice, Offer
from rlhf.domain.strategies import STRATEGIES, pick_previous, pick_random
from rlhf.domain.terms import Terms
from rlhf.models import Loop

# Prompts sampled for each pair wanted. A prompt to which a policy says the same twice makes no pair, and a good policy
# does so more and more often; a strategy that chooses needs something to choose from.
POOL: Mapping[str, float] = MappingProxyType({Loop.Strategy.RANDOM.value: 1.4, Loop.Strategy.PREVIOUS.value: 1.4})
POOL_OF_A_CHOICE = 3.0
# Strategies that read scores: rounds of these have a `score` stage, given a reward model.
SCORED = (Loop.Strategy.DISAGREEMENT.value, Loop.Strategy.UNCERTAIN.value)


def count_prompts(terms: Terms) -> int:
    """Return how many prompts a round samples."""
    return math.ceil(POOL.get(terms.strategy, POOL_OF_A_CHOICE) * terms.n_pairs)


def select_pairs(
    offers: Sequence[Offer],
    terms: Terms,
    rng: random.Random,
    *,
    n_judged: Mapping[int | None, int] = MappingProxyType({}),
) -> list[Choice]:
    """Return up to terms.n_pairs pairs, at most one a prompt, in random order.

    Args:
        offers: what was sampled, one a prompt.
        terms: the round's; n_pairs, the shares and the strategy are read.
        rng: where chance comes from.
        n_judged: judgments there are by slice, for strategies that even them out.
    """
    n = min(terms.n_pairs, sum(1 for offer in offers if offer.pairs or offer.duels))
    has_previous = any(offer.duels for offer in offers)
    n_control = math.ceil(terms.random_share * n)
    n_duels = min(round(terms.previous_share * n), n - n_control) if has_previous else 0
    n_chosen = n - n_control - n_duels
    # The last arm fills up with prompts whose only pair is a duel, once the others have had theirs.
    arms = [
        (pick_random, n_control),
        (pick_previous, n_duels),
        (STRATEGIES.get(terms.strategy, pick_random), n_chosen),
        (pick_previous, n),
    ]
    choices: list[Choice] = []
    for pick, wanted in arms:
        taken = {choice.prompt for choice in choices}
        left = [offer for offer in offers if offer.prompt not in taken]
        chance = len(left) / max(len(offers), 1)
        picked = pick(left, min(wanted, n - len(choices)), terms, rng, n_judged)
        choices += [replace(choice, propensity=choice.propensity * chance) for choice in picked]
    rng.shuffle(choices)
    return choices
