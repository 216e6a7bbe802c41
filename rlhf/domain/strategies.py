"""The arms that choose pairs: by chance, against the previous policy, and where a judgment teaches most.

Those that weigh draw with unequal probabilities instead of taking the best for certain: a batch of only the best is all of
one kind, and chance keeps every propensity over 0, so that estimates over the pool can be reweighted.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from rlhf.domain.offers import Candidate, Choice, Offer, Strategy, draw
from rlhf.domain.terms import Terms
from rlhf.models import Loop

LEAST_WEIGHT = 1e-6


def pick_random(
    offers: Sequence[Offer], n: int, terms: Terms, rng: random.Random, n_judged: Mapping[int | None, int]
) -> list[Choice]:
    """Pick prompts by chance, and of each two completions of the current policy by chance."""
    return draw(offers, n, rng, pairs=lambda offer: offer.pairs)


def pick_previous(
    offers: Sequence[Offer], n: int, terms: Terms, rng: random.Random, n_judged: Mapping[int | None, int]
) -> list[Choice]:
    """Pick prompts by chance, and of each a completion of either policy by chance."""
    return draw(offers, n, rng, pairs=lambda offer: offer.duels, is_duel=True)


def pick_disagreement(
    offers: Sequence[Offer], n: int, terms: Terms, rng: random.Random, n_judged: Mapping[int | None, int]
) -> list[Choice]:
    """Pick where the heads of the reward model disagree most about which completion is better.

    Of each prompt the pair is taken whose difference of scores spreads most over the heads; prompts are drawn in
    proportion to that spread. With a single head nothing spreads, and chance picks.
    """
    return draw_weighted(offers, n, rng, value=measure_spread)


def pick_uncertain(
    offers: Sequence[Offer], n: int, terms: Terms, rng: random.Random, n_judged: Mapping[int | None, int]
) -> list[Choice]:
    """Pick where the reward model gives both completions even chances: p (1 - p) of the mean difference of scores."""
    return draw_weighted(offers, n, rng, value=measure_doubt)


def pick_coverage(
    offers: Sequence[Offer], n: int, terms: Terms, rng: random.Random, n_judged: Mapping[int | None, int]
) -> list[Choice]:
    """Pick from the slices with the fewest judgments until they are level, by chance within a slice."""
    by_slice: dict[int | None, list[Offer]] = defaultdict(list)
    for offer in offers:
        if offer.pairs:
            by_slice[offer.slice].append(offer)
    shares = dict.fromkeys(by_slice, 0)
    for _ in range(n):
        open_slices = [key for key in by_slice if shares[key] < len(by_slice[key])]
        if not open_slices:
            break
        least = min(n_judged.get(key, 0) + shares[key] for key in open_slices)
        shares[rng.choice([key for key in open_slices if n_judged.get(key, 0) + shares[key] == least])] += 1
    return [
        replace(choice, reason="active")
        for key, found in by_slice.items()
        for choice in draw(found, shares[key], rng, pairs=lambda offer: offer.pairs)
    ]


def measure_spread(a: Candidate, b: Candidate) -> float:
    """Return the standard deviation over the heads of how much better a is; 0 without two heads."""
    gaps = [x - y for x, y in zip(a.scores, b.scores, strict=False)]
    if len(gaps) < 2:
        return 0.0
    mean = sum(gaps) / len(gaps)
    return math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))


def measure_doubt(a: Candidate, b: Candidate) -> float:
    """Return 4 p (1 - p), p the probability that a is better by the mean of the heads; 0 where nothing scored them."""
    gaps = [x - y for x, y in zip(a.scores, b.scores, strict=False)]
    if not gaps:
        return 0.0
    p = 1 / (1 + math.exp(-max(-40.0, min(40.0, sum(gaps) / len(gaps)))))
    return 4 * p * (1 - p)


def draw_weighted(
    offers: Sequence[Offer], n: int, rng: random.Random, *, value: Callable[[Candidate, Candidate], float]
) -> list[Choice]:
    """Draw n offers, each by the pair of it that is worth most, in proportion to that worth."""
    best: list[tuple[Offer, tuple[Candidate, Candidate], float]] = []
    for offer in offers:
        if pairs := offer.pairs:
            rng.shuffle(pairs)  # of equal pairs any
            worth, pair = max(((value(*pair), pair) for pair in pairs), key=lambda each: each[0])
            best.append((offer, pair, worth))
    if not any(worth > 0 for _, _, worth in best):
        return draw(offers, n, rng, pairs=lambda offer: offer.pairs)
    rng.shuffle(best)
    chances = find_chances([worth for _, _, worth in best], n)
    return [
        Choice(best[at][0].prompt, best[at][1][0].text, best[at][1][1].text, "active", chances[at], score=best[at][2])
        for at in draw_systematic(chances, rng)
    ]


def find_chances(weights: Sequence[float], n: int) -> list[float]:
    """Return inclusion probabilities in proportion to the weights, 1 at most, that add up to n (or to all there are)."""
    weights = [max(weight, LEAST_WEIGHT) for weight in weights]
    if n >= len(weights):
        return [1.0] * len(weights)
    certain: set[int] = set()
    while True:
        total = sum(weight for at, weight in enumerate(weights) if at not in certain)
        scale = (n - len(certain)) / total
        over = {at for at, weight in enumerate(weights) if at not in certain and weight * scale >= 1}
        if not over:
            return [1.0 if at in certain else weight * scale for at, weight in enumerate(weights)]
        certain |= over


def draw_systematic(chances: Sequence[float], rng: random.Random) -> list[int]:
    """Return positions, each drawn with its own probability, as many as these add up to.

    Source: Madow 1949, systematic sampling with unequal probabilities; the caller shuffles, so that neighbours are not
    bound together.
    """
    start, total, drawn = rng.random(), 0.0, []
    for at, chance in enumerate(chances):
        before = math.ceil(total - start)
        total += chance
        if math.ceil(total - start - 1e-12) > before:
            drawn.append(at)
    return drawn


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        Loop.Strategy.RANDOM.value: pick_random,
        Loop.Strategy.PREVIOUS.value: pick_previous,
        Loop.Strategy.DISAGREEMENT.value: pick_disagreement,
        Loop.Strategy.UNCERTAIN.value: pick_uncertain,
        Loop.Strategy.COVERAGE.value: pick_coverage,
    }
)
