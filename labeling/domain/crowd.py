"""What a crowd's votes come to when each labeler is believed as far as she deserves. Plain numbers: no database here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeling.domain.intervals import Numbers

MAX_ITERATIONS = 200
TOLERANCE = 1e-7  # of the mean log-likelihood of a vote
# Pseudo-votes each labeler starts with, per right answer: she is rather right, until her votes tell otherwise.
PRIOR_RIGHT = 4.0
PRIOR_WRONG = 1.0


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Dawid and Skene's model fitted to votes.

    items, labelers: the ids the rows are of, in ascending order. posterior: (n_items, k), how likely each class is the
    right one. confusion: (n_labelers, k, k), what a labeler says (last axis) where a class is right. priors: (k,).
    objective: log posterior density of the parameters after each iteration; it never falls.
    """

    items: Numbers
    labelers: Numbers
    posterior: Numbers
    confusion: Numbers
    priors: Numbers
    objective: Sequence[float]

    def measure_reliability(self) -> dict[int, float]:
        """Return by labeler how likely a vote of hers is right."""
        rights = np.einsum("k,lkk->l", self.priors, self.confusion)
        return dict(zip(self.labelers.tolist(), rights.tolist(), strict=True))


def fit_crowd(items: Sequence[int], labelers: Sequence[int], classes: Sequence[int], *, n_classes: int) -> Crowd:
    """Fit Dawid and Skene's model by expectation maximization, with Dirichlet priors on what labelers say.

    Whoever mostly says the opposite is not ignored but read the other way round; whoever says anything counts little.
    Source: Dawid and Skene 1979.

    Args: items, labelers, classes: one entry a vote; classes are 0 .. n_classes - 1.
    """
    item_ids, item = np.unique(np.asarray(items, dtype=np.int64), return_inverse=True)
    labeler_ids, labeler = np.unique(np.asarray(labelers, dtype=np.int64), return_inverse=True)
    votes = Votes(item, labeler, np.asarray(classes, dtype=np.int64), (len(item_ids), len(labeler_ids), n_classes))
    posterior = votes.share_classes()
    objective: list[float] = []
    while True:
        confusion, priors = votes.estimate(posterior)
        posterior, likelihood = votes.judge(confusion, priors)
        objective.append(likelihood + weigh_priors(confusion, priors))
        is_done = len(objective) > 1 and objective[-1] - objective[-2] < TOLERANCE * max(len(item), 1)
        if is_done or len(objective) == MAX_ITERATIONS:
            return Crowd(
                items=item_ids,
                labelers=labeler_ids,
                posterior=posterior,
                confusion=confusion,
                priors=priors,
                objective=objective,
            )


@dataclass(frozen=True)
class Votes:
    """Votes as places in the tables: which item, which labeler, which class. shape: how many there are of each."""

    item: Numbers
    labeler: Numbers
    said: Numbers
    shape: tuple[int, int, int]

    def share_classes(self) -> Numbers:
        """Return the share of each class among an item's votes (n_items, k): what the fit starts from."""
        n_items, _, k = self.shape
        counts = np.bincount(self.item * k + self.said, minlength=n_items * k).reshape(n_items, k)
        shares: Numbers = counts / counts.sum(axis=1, keepdims=True)
        return shares

    def estimate(self, posterior: Numbers) -> tuple[Numbers, Numbers]:
        """Return the confusion matrices and the class priors that fit the posterior best."""
        n_items, n_labelers, k = self.shape
        counts = np.full((n_labelers, k, k), PRIOR_WRONG) + (PRIOR_RIGHT - PRIOR_WRONG) * np.eye(k)
        place = self.labeler * k + self.said
        for right in range(k):
            weights = posterior[self.item, right]
            counts[:, right] += np.bincount(place, weights=weights, minlength=n_labelers * k).reshape(n_labelers, k)
        priors = (posterior.sum(axis=0) + 1) / (n_items + k)
        return counts / counts.sum(axis=2, keepdims=True), priors

    def judge(self, confusion: Numbers, priors: Numbers) -> tuple[Numbers, float]:
        """Return how likely each class is for each item, and the log-likelihood of all votes."""
        n_items, _, k = self.shape
        logs = np.log(confusion)
        total = np.tile(np.log(priors), (n_items, 1))
        for right in range(k):
            weights = logs[self.labeler, right, self.said]
            total[:, right] += np.bincount(self.item, weights=weights, minlength=n_items)
        highest = total.max(axis=1, keepdims=True, initial=-np.inf)
        odds = np.exp(total - highest)
        likelihood = float((np.log(odds.sum(axis=1)) + highest[:, 0]).sum())
        return odds / odds.sum(axis=1, keepdims=True), likelihood


def weigh_priors(confusion: Numbers, priors: Numbers) -> float:
    """Return the log density of the parameters under their priors, up to a constant."""
    k = len(priors)
    pseudo = PRIOR_WRONG + (PRIOR_RIGHT - PRIOR_WRONG) * np.eye(k)
    return float((pseudo * np.log(confusion)).sum() + np.log(priors).sum())
