"""The best-of-n estimator against the list of all choices, and against closed forms."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from rlhf.contract.best_of_n import best_of_n_kl, best_of_n_means
from rlhf.contract.errors import ContractError


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_it_is_the_mean_over_every_choice(n):
    rng = random.Random(n)
    scores, values = [rng.random() for _ in range(6)], [rng.random() for _ in range(6)]
    choices = list(itertools.combinations(range(6), n))

    expected = sum(values[max(choice, key=lambda place: scores[place])] for choice in choices) / len(choices)

    assert best_of_n_means(scores, values, [n]) == pytest.approx([expected])


def test_equal_scores_share_what_they_are_worth():
    assert best_of_n_means([1.0, 1.0, 0.0], [6.0, 2.0, 9.0], [3]) == [4.0]
    assert best_of_n_means([1.0, 1.0, 0.0], [2.0, 6.0, 9.0], [3]) == [4.0]


def test_the_best_of_n_uniform_draws_is_n_over_n_plus_one():
    scores = [(place + 0.5) / 4000 for place in range(4000)]

    assert best_of_n_means(scores, scores, [1, 2, 8]) == pytest.approx([1 / 2, 2 / 3, 8 / 9], abs=1e-3)


def test_more_than_there_are_cannot_be_chosen_from():
    with pytest.raises(ContractError, match="the best of 3 cannot be chosen from 2"):
        best_of_n_means([1.0, 2.0], [1.0, 2.0], [3])


def test_kl_is_that_of_the_distribution_of_the_best():
    """Of N equally likely completions the best of n has p(r) = (r/N)^n - ((r-1)/N)^n."""
    total, n = 20_000, 4
    shares = [(r / total) ** n - ((r - 1) / total) ** n for r in range(1, total + 1)]

    exact = sum(share * math.log(share * total) for share in shares if share)

    assert best_of_n_kl(n) == pytest.approx(exact, abs=1e-3)
    assert best_of_n_kl(1) == 0.0
