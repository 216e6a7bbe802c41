"""What a list of words makes of the pairs a reward model learns from: one no better has learned no more than words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.contract.kinds.reward import N_PAIRS
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.token_scorer import N_BUCKETS

PRIOR = 4.0  # of a token's weight: the inverse of its variance, halved


def word_differences(train_pairs: Sequence[EncodedPair], test_pairs: Sequence[EncodedPair]) -> list[float]:
    """Return the score of chosen minus that of rejected for each test pair, nats: sums of weights of their different tokens.

    The weights are those of logistic regression on the first train pairs, with targets and weights as they are.

    Source: the bag of words as a baseline; Bradley and Terry 1952 with features and a ridge prior.
    """
    shown = train_pairs[:N_PAIRS]
    values = fit_weights(
        mark_tokens(shown),
        prior=torch.full((N_BUCKETS,), PRIOR),
        target=torch.tensor([pair.target for pair in shown]),
        weight=torch.tensor([pair.weight for pair in shown]),
    )
    differences: list[float] = (mark_tokens(test_pairs) @ values).tolist()
    return differences


def fit_weights(features: Tensor, *, prior: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weights that make sigmoid(features @ weights) the target, by penalised likelihood: (F,).

    Args: features: (n, F), of chosen less of rejected. prior: (F,), half the inverse of each weight's variance. target,
        weight: (n,), as of `bradley_terry_loss`.
    """
    values = torch.zeros_like(prior, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(features @ values, target, weight=weight, reduction="sum")
        loss = (losses + (prior * values.square()).sum()) / max(len(features), 1)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(cost)  # type: ignore[no-untyped-call]
    return values.detach()


def mark_tokens(pairs: Sequence[EncodedPair]) -> Tensor:
    """Return 1 for each bucket whose tokens are in chosen alone, -1 in rejected alone, else 0: (len(pairs), N_BUCKETS)."""
    marks = torch.zeros(len(pairs), N_BUCKETS)
    for row, pair in zip(marks, pairs, strict=True):
        for ids, sign in ((pair.chosen_ids, 1.0), (pair.rejected_ids, -1.0)):
            row[torch.tensor(ids, dtype=torch.long).remainder(N_BUCKETS).unique()] += sign
    return marks
