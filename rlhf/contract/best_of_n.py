"""The best of n completions by score: what is expected of it, without drawing it, and how far it is from the policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlhf.contract.errors import ContractError


def best_of_n_kl(n: int) -> float:
    """Return the KL of best-of-n sampling to the policy that samples, nats: log n - (n - 1) / n.

    It is an upper bound, reached where no two completions are equal (Beirami et al., arXiv 2401.01879).
    Source: Stiennon et al., arXiv 2009.01325, appendix G.3.
    """
    return math.log(n) - (n - 1) / n


def best_of_n_means(scores: Sequence[float], values: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Return what the best of n by score is worth on average, for each n, over all choices of n of the completions.

    The estimate is unbiased: a completion with r - 1 below it is the best of C(r - 1, n - 1) of the C(N, n) choices.
    Completions of equal score share their places.

    Args: scores: of the N completions of a prompt, by which the best is chosen. values: what it is worth. sizes: each
        from 1 to N.
    Raises: ContractError for a size no choice has.
    Source: Nakano et al., arXiv 2112.09332, appendix I.
    """
    total = len(scores)
    if not sizes or min(sizes) < 1 or max(sizes) > total:
        raise ContractError(f"the best of {', '.join(map(str, sizes)) or 'nothing'} cannot be chosen from {total}")
    worth = share_places(scores, values)
    means = []
    for n in sizes:
        # C(r - 1, n - 1) / C(N, n), from the top place downwards.
        chance, mean = n / total, 0.0
        for place in range(total, n - 1, -1):
            mean += chance * worth[place - 1]
            if place > n:
                chance *= (place - n) / (place - 1)
        means.append(mean)
    return means


def share_places(scores: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the values by rising score, those of equal scores replaced by their mean."""
    ranked = sorted(zip(scores, values, strict=True), key=lambda pair: pair[0])
    worth: list[float] = []
    start = 0
    for end in range(1, len(ranked) + 1):
        if end == len(ranked) or ranked[end][0] != ranked[start][0]:
            mean = sum(value for _, value in ranked[start:end]) / (end - start)
            worth += [mean] * (end - start)
            start = end
    return worth
