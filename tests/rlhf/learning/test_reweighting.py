"""Held-out accuracy that does not depend on which pairs people were asked about."""

from __future__ import annotations

import random

import pytest

from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import DATA, PROPENSITIES
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.reweighting import describe_reweighted

NAME = "eval_accuracy"


def make_pair(line: int, target: float = 1.0) -> EncodedPair:
    return EncodedPair([1], [2], [3], target, 1.0, 0.0, 10, 5, "", "", line)


def measure(tmp_path, hits: list[float], propensities: dict[int, float], **rest) -> dict[str, float]:
    """The reweighted accuracy of pairs on lines from 1 on, of which these are right."""
    (tmp_path / DATA).mkdir(exist_ok=True)
    write_rows(tmp_path / DATA / PROPENSITIES, [{"line": n, "propensity": p} for n, p in propensities.items()])
    pairs = [make_pair(line, **rest) for line in range(1, len(hits) + 1)]
    return describe_reweighted(tmp_path, pairs, [2 * hit - 1 for hit in hits], name=NAME)


def test_a_pair_that_was_asked_half_as_probably_weighs_twice(tmp_path):
    found = measure(tmp_path, [1, 0, 0], {1: 0.25, 2: 0.5, 3: 0.5})

    assert found[f"{NAME}_reweighted"] == pytest.approx(4 / (4 + 2 + 2))
    assert found["n_reweighted"] == 3
    assert found["n_effective"] == pytest.approx(8**2 / (4**2 + 2**2 + 2**2))
    assert found[f"{NAME}_reweighted_low"] < 0.5 < found[f"{NAME}_reweighted_high"]


def test_pairs_that_weigh_alike_come_to_the_plain_accuracy(tmp_path):
    found = measure(tmp_path, [1, 1, 1, 0], dict.fromkeys(range(1, 5), 0.1))

    assert (found[f"{NAME}_reweighted"], found["n_effective"]) == pytest.approx((0.75, 4))


def test_pairs_that_chance_did_not_pick_count_for_nothing(tmp_path):
    found = measure(tmp_path, [1, 0, 0, 0], {1: 0.1})

    assert (found[f"{NAME}_reweighted"], found["n_reweighted"]) == (1.0, 1)


def test_ties_count_for_nothing(tmp_path):
    assert measure(tmp_path, [1], {1: 0.1}, target=0.5) == {}


def test_without_propensities_there_is_no_such_figure(tmp_path):
    assert describe_reweighted(tmp_path, [make_pair(1)], [1.0], name=NAME) == {}


def test_what_was_asked_with_unlike_chances_comes_to_what_the_whole_pool_would(tmp_path):
    # Three in four of the pool are easy, and asked about ten times less often than the hard ones.
    n, truth, covered, plain, reweighted = 200, 0.75 * 0.9 + 0.25 * 0.5, 0, [], []
    for seed in range(n):
        draw = random.Random(seed)
        asked = []
        for number in range(800):
            is_hard = number % 4 == 0
            chance = 0.5 if is_hard else 0.05
            if draw.random() < chance:
                asked.append((float(draw.random() < (0.5 if is_hard else 0.9)), chance))
        hits, chances = [hit for hit, _ in asked], dict(enumerate((chance for _, chance in asked), 1))
        found = measure(tmp_path, hits, chances)
        plain.append(sum(hits) / len(hits))
        reweighted.append(found[f"{NAME}_reweighted"])
        covered += found[f"{NAME}_reweighted_low"] <= truth <= found[f"{NAME}_reweighted_high"]

    assert sum(plain) / n < truth - 0.15
    assert sum(reweighted) / n == pytest.approx(truth, abs=0.01)
    assert covered / n >= 0.93
