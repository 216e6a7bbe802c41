"""What a list of words makes of the pairs a reward model learns from: one no better has learned no more than words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.learning.preferences import EncodedPair

N_BUCKETS = 4096  # token ids share them, so that a large vocabulary costs no more than a small one
N_PAIRS = 5000  # enough for a list of words, and a tenth of a second
PRIOR = 4.0  # of a token's weight: the inverse of its variance, halved


def word_differences(train_pairs: Sequence[EncodedPair], test_pairs: Sequence[EncodedPair]) -> list[float]:
    """Return the score of chosen minus that of rejected for each test pair, nats, by a sum of weights of their tokens.

    The weights are those of logistic regression on the first train pairs, with targets and weights as they are.

    Source: the bag of words as a baseline, Bradley and Terry 1952 with features; ridge prior.
    """
    shown = train_pairs[:N_PAIRS]
    counts = count_tokens(shown)  # (n, N_BUCKETS)
    target = torch.tensor([pair.target for pair in shown])
    weight = torch.tensor([pair.weight for pair in shown])
    values = torch.zeros(N_BUCKETS, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(counts @ values, target, weight=weight, reduction="sum")
        loss = (losses + PRIOR * values.square().sum()) / max(len(shown), 1)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(cost)  # type: ignore[no-untyped-call]
    differences: list[float] = (count_tokens(test_pairs) @ values.detach()).tolist()
    return differences


def count_tokens(pairs: Sequence[EncodedPair]) -> Tensor:
    """Return how often each bucket's tokens are in chosen, less how often they are in rejected: (len(pairs), N_BUCKETS)."""
    counts = torch.zeros(len(pairs), N_BUCKETS)
    for row, pair in zip(counts, pairs, strict=True):
        for ids, sign in ((pair.chosen_ids, 1.0), (pair.rejected_ids, -1.0)):
            buckets = torch.tensor(ids, dtype=torch.long) % N_BUCKETS
            row.index_add_(0, buckets, torch.full((len(ids),), sign))
    return counts
