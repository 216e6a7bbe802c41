"""How right the labels of a crowd are by each consensus, and how fast a crowd is weighed.

    PYTHONPATH=. python benchmarks/crowd.py [--seeds 30] [--items 1000]

Simulated crowds of 40 labelers, three on each comparison, whose truth is known; honest labelers are right 93 times in
100. A comparison that a rule leaves undecided counts as half right. Soft labels are judged by the side they lean to, and
by their Brier score, which punishes being sure and wrong. The intervals are over seeds: mean and 1.96 standard errors.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import mean, stdev

import numpy as np

from labeling.domain.crowd import fit_crowd
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote, decide_all

CROWDS = {
    "all honest": {},
    "10% random, 20% inverted": {"random": 0.1, "inverted": 0.2},
    "20% random, 10% inverted, 10% always A": {"random": 0.2, "inverted": 0.1, "always A": 0.1},
    "half random": {"random": 0.5},
}
N_LABELERS, OVERLAP, ACCURACY = 40, 3, 0.93
SPEEDS = (10_000, 100_000, 1_000_000)
HABITS: dict[str, Callable[[int, np.random.Generator], int]] = {
    "honest": lambda truth, rng: truth if rng.random() < ACCURACY else -truth,
    "inverted": lambda truth, rng: -truth if rng.random() < ACCURACY else truth,
    "random": lambda truth, rng: int(rng.choice([-1, 1])),
    "always A": lambda truth, rng: -1,
}


def draw_votes(shares: Mapping[str, float], n_items: int, seed: int) -> tuple[dict[int, list[Vote]], list[int]]:
    """Return the votes on each item, and which side is right."""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind, share in shares.items() for _ in range(round(share * N_LABELERS))]
    kinds += ["honest"] * (N_LABELERS - len(kinds))
    truth = rng.choice([-1, 1], n_items).tolist()
    votes = {
        item: [
            Vote(2 * HABITS[kinds[labeler]](right, rng), labeler=labeler)
            for labeler in rng.choice(N_LABELERS, OVERLAP, replace=False).tolist()
        ]
        for item, right in enumerate(truth)
    }
    return votes, truth


def score(decided: Mapping[int, Decision], truth: list[int], *, is_soft: bool) -> tuple[float, float]:
    """Return the share of right labels, and the Brier score of the probabilities they come with."""
    right, brier = 0.0, 0.0
    for item, decision in decided.items():
        side = {Outcome.A: -1, Outcome.B: 1}.get(decision.outcome, 0)
        right += 0.5 if not side else float(side == truth[item])
        target = (decision.target if is_soft else 1.0) if side else 0.5
        brier += (target - float(side == truth[item])) ** 2 if side else 0.25
    return right / len(truth), brier / len(truth)


def say(values: list[float]) -> str:
    half = 1.96 * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{mean(values):.3f} ± {half:.3f}"


def measure_accuracy(n_seeds: int, n_items: int) -> None:
    rules = {
        "majority": ("majority", False),
        "share of votes, soft": ("soft", True),
        "Dawid-Skene": ("dawid_skene", False),
        "Dawid-Skene, soft": ("dawid_skene", True),
    }
    for crowd, shares in CROWDS.items():
        drawn = [draw_votes(shares, n_items, seed) for seed in range(n_seeds)]
        print(f"\n{crowd}: {n_items} comparisons, {n_seeds} seeds")
        print(f"  {'':22} {'right':>15} {'Brier':>15}")
        for name, (consensus, is_soft) in rules.items():
            scores = [score(decide_all(votes, consensus=consensus), truth, is_soft=is_soft) for votes, truth in drawn]
            right, brier = zip(*scores, strict=True)
            print(f"  {name:22} {say(list(right)):>15} {say(list(brier)):>15}")


def measure_speed() -> None:
    print("\nvotes      seconds  iterations")
    for n_votes in SPEEDS:
        rng = np.random.default_rng(0)
        items = rng.integers(0, n_votes // OVERLAP, n_votes)
        labelers = rng.integers(0, 200, n_votes)
        truth = rng.integers(0, 2, n_votes // OVERLAP) * 2
        said = np.where(rng.random(n_votes) < np.linspace(0.4, 0.95, 200)[labelers], truth[items], 2 - truth[items])
        started = time.perf_counter()
        crowd = fit_crowd(items, labelers, said, n_classes=3)
        print(f"{n_votes:9,}  {time.perf_counter() - started:7.2f}  {len(crowd.objective):10}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--items", type=int, default=1000)
    arguments = parser.parse_args()
    measure_accuracy(arguments.seeds, arguments.items)
    measure_speed()
