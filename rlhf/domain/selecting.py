"""Which pairs people are asked about: an arm of chance, duels with the previous policy, and the loop's strategy.

A round samples more prompts than it queues (`POOL`), a `score` run may let the reward model's heads score every sample,
and `select_pairs` picks one pair a prompt. It sees plain data and a source of chance, never the database: what it was
given and the seed make the same choice again.

The arms, in the order in which they pick from the pool:

1. Control. `random_share` of the pairs, a tenth at least, are two of the current policy's completions of a prompt,
   prompt and completions drawn by chance. Whatever a strategy does, figures over these pairs alone are unbiased. Where
   the strategy is chance itself, they are all but the duels.
2. Duels. `previous_share` of the pairs have a completion of the previous policy on their other side, drawn by chance:
   the win rate of one policy over the other, for free. What a prompt without two different completions is good for.
3. The strategy: one function of `strategies.STRATEGIES` for the rest. To add one, write
   `(offers, n, terms, rng, n_judged) -> choices` and name it after a member of Loop.Strategy: it gets the offers the
   other arms left, returns n choices, or one of every offer that has a pair where these are fewer, at most one an
   offer, with reason "active" unless chance alone picked them, and with what it believes a judgment would teach as the
   score (labelers are asked for higher scores first). "previous" asks for more duels, and is one arm with them.
   Where pairs run out, the last places are filled with duels of prompts that have nothing else.

Propensity is the probability, over the draws of `rng` and given the offers, with which its arm picked this pair: the
weight of its judgment in an estimate over the pool is 1 / propensity, arm by arm; that estimate has no bias. The pool
is of three kinds: prompts good for a pair, for a duel, and for both. Control takes none that is good for a duel alone,
so `Draw` counts the chances of each kind; duels that fill up count with the duels. A strategy says how probably it
picks among what it is given; `select_pairs` multiplies that by the chance of an offer to be left to it. One that takes
the n best for certain says 1.0, and estimates over the whole pool then rest on the control arm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from rlhf.domain.offers import Choice, Offer, Strategy
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
    rest, by_prompt = list(offers), {offer.prompt: offer for offer in offers}
    plan = plan_draw(offers, terms)

    def pick(arm: Strategy, n: int) -> list[Choice]:
        picked = arm(rest, n, terms, rng, n_judged)
        taken = {choice.prompt for choice in picked}
        rest[:] = [offer for offer in rest if offer.prompt not in taken]
        return picked

    control = pick(pick_random, plan.n_control)
    duels = pick(pick_previous, plan.n_duels)
    chosen = pick(STRATEGIES.get(terms.strategy, pick_random), plan.n_chosen)
    duels += pick(pick_previous, plan.n - len(control) - len(duels) - len(chosen))
    met = plan.measure_duels(n_met=sum(1 for choice in control if by_prompt[choice.prompt].duels))
    left = plan.measure_left()
    choices = list(control)
    for choice in duels:
        offer = by_prompt[choice.prompt]
        choices.append(replace(choice, propensity=met[bool(offer.pairs)] / len(offer.duels)))
    for choice in chosen:
        choices.append(replace(choice, propensity=choice.propensity * left[bool(by_prompt[choice.prompt].duels)]))
    rng.shuffle(choices)
    return choices


@dataclass(frozen=True)
class Draw:
    """How many of each kind the pool holds, how many places there are, and how many of them each arm asks for.

    with_pairs: prompts good for a pair, with_both: those of them good for a duel too, duel_only: for a duel alone.
    """

    with_pairs: int
    with_both: int
    duel_only: int
    n: int
    n_control: int
    n_duels: int

    @property
    def n_chosen(self) -> int:
        return self.n - self.n_control - self.n_duels

    def measure_duels(self, *, n_met: int) -> dict[bool, float]:
        """Return how probably a duel is made of a prompt, by whether it is good for a pair too.

        n_met: how many prompts that are good for both control took.
        """
        n_left = max(self.with_both - n_met + self.duel_only, 1)
        drawn = min(self.n_duels / n_left, 1.0)
        return {
            True: drawn * (1 - self.share_of_control),
            # Chances that are summed up come to a last digit over 1.
            False: min(drawn + self.count_filled(n_met) / max(self.duel_only, 1), 1.0),
        }

    def measure_left(self) -> dict[bool, float]:
        """Return how probably control and duels leave a prompt to the strategy, by whether it is good for a duel too."""
        left = 1 - self.share_of_control
        if left == 0 or self.with_both == 0:
            return {False: left, True: 0.0}
        # How many others that are good for both control took says how many the duels are drawn from.
        met = list_chances(self.n_taken, marked=self.with_both - 1, of=self.with_pairs - 1)
        n_left = self.with_both + self.duel_only
        spared = sum(chance * (1 - min(self.n_duels / (n_left - n_met), 1.0)) for n_met, chance in met)
        return {False: left, True: left * min(spared, 1.0)}

    @property
    def n_taken(self) -> int:
        """How many pairs control takes."""
        return min(self.n_control, self.with_pairs)

    @property
    def share_of_control(self) -> float:
        return self.n_taken / max(self.with_pairs, 1)

    def count_filled(self, n_met: int) -> float:
        """Return how many places duels fill up in the end, on average, given n_met."""
        n_both = self.with_both - n_met
        n_drawn = min(self.n_duels, n_both + self.duel_only)
        open_places = self.n - self.n_taken - n_drawn
        filled = 0.0
        for n_lost, chance in list_chances(n_drawn, marked=n_both, of=n_both + self.duel_only):
            n_chosen = min(self.n_chosen, self.with_pairs - self.n_taken - n_lost)
            filled += chance * min(open_places - n_chosen, self.duel_only - (n_drawn - n_lost))
        return filled


def plan_draw(offers: Sequence[Offer], terms: Terms) -> Draw:
    """Count what a pool holds, and share out the places."""
    with_pairs = sum(1 for offer in offers if offer.pairs)
    with_duels = sum(1 for offer in offers if offer.duels)
    duel_only = sum(1 for offer in offers if offer.duels and not offer.pairs)
    n = min(terms.n_pairs, with_pairs + duel_only)
    n_control = math.ceil(terms.random_share * n)
    share = 1.0 if terms.strategy == Loop.Strategy.PREVIOUS else terms.previous_share
    n_duels = min(round(share * n), n - n_control) if with_duels else 0
    if terms.strategy == Loop.Strategy.RANDOM:
        n_control = n - n_duels  # one arm: in two, each pair would weigh as if the other were not there
    return Draw(with_pairs, with_duels - duel_only, duel_only, n, n_control, n_duels)


def list_chances(n: int, *, marked: int, of: int) -> list[tuple[int, float]]:
    """Return how many of n things drawn from so many are marked ones, each number with its probability.

    The hypergeometric distribution. Logarithms, because the numbers of ways overflow from about a thousand things on.
    """
    counts = range(max(0, n - (of - marked)), min(n, marked) + 1)
    every = count_ways(of, n)
    return [(k, math.exp(count_ways(marked, k) + count_ways(of - marked, n - k) - every)) for k in counts]


def count_ways(of: int, n: int) -> float:
    """Return the logarithm of how many sets of n there are of so many things."""
    return math.lgamma(of + 1) - math.lgamma(n + 1) - math.lgamma(of - n + 1)
