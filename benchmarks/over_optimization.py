"""Does the alarm go off before the true reward falls? PPO and best of n against a gold reward that is known.

A completion is a point x in 16 dimensions and the policy N(mu, I), so that its KL to the reference N(0, I) and its true
reward are known exactly. Gold reward likes each trait in measure: w.x - sum c x^2 / 2. Reward models are logistic fits to
noisy judgments of pairs of the reference's completions; of few of them, the curvature of some traits comes out wrong,
and that is where a policy goes that has only their word. The judges that doubt are the reward model's five heads and
five more, of other judgments.

Three settings of ten seeds: 400 judgments and no KL penalty (the gold reward falls), the same with a penalty, and 4,000
judgments with a small one (both healthy). Prints the curves of one seed, and of every seed when gold peaked and when the
alarm, rlhf/contract/alarm.py as PPO runs use it, went off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rlhf.contract import alarm
from rlhf.contract.best_of_n import best_of_n_kl, best_of_n_means

Numbers = npt.NDArray[Any]
N_TRAITS, N_HEADS, N_SEEDS = 16, 5, 10
BATCH, PASSES, MINIBATCHES, RATE, CLIP = 256, 2, 4, 0.015, 0.2
SIZES = (1, 2, 4, 8, 16, 32)
N_PROMPTS = 64  # of the best-of-n curve, with as many completions each as its largest size
SETTINGS = {
    "few judgments, no penalty": {"n_pairs": 400, "kl_coef": 0.0, "rollouts": 120},
    "few judgments, penalty 0.3": {"n_pairs": 400, "kl_coef": 0.3, "rollouts": 120},
    "many judgments, penalty 0.1": {"n_pairs": 4000, "kl_coef": 0.1, "rollouts": 60},
}


def look_at(x: Numbers) -> Numbers:
    """Return what rewards are linear in: each trait, and its square. x: (..., D). Returns: (..., 2 D)."""
    return np.concatenate([x, x * x - 1], -1)


@dataclass(frozen=True)
class World:
    """What is truly good. weights: (2 D,), of look_at. std: of gold reward over the reference's completions."""

    weights: Numbers
    std: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> World:
        traits = rng.normal(size=N_TRAITS)
        traits /= np.linalg.norm(traits)
        curvature = 0.2 * (0.5 + rng.random(N_TRAITS))
        std = math.sqrt((traits**2).sum() + (curvature**2).sum() / 2)
        return cls(np.concatenate([traits, -curvature / 2]), std)

    def expect(self, mean: Numbers) -> float:
        """Return the expected gold reward of N(mean, I), the reference's being 0, in its standard deviations."""
        return float(self.weights @ np.concatenate([mean, mean**2])) / self.std


def fit_heads(rng: np.random.Generator, world: World, n_pairs: int) -> Numbers:
    """Return five logistic fits to resamples of n_pairs noisy judgments: (K, 2 D)."""
    pairs = look_at(rng.normal(size=(2, n_pairs, N_TRAITS)))
    differences = pairs[0] - pairs[1]
    said = (rng.random(n_pairs) < 1 / (1 + np.exp(-2 * differences @ world.weights))).astype(float)
    heads = []
    for _ in range(N_HEADS):
        drawn = rng.integers(n_pairs, size=n_pairs)
        rows, wins, fit = differences[drawn], said[drawn], np.zeros(2 * N_TRAITS)
        for _ in range(12):
            p = 1 / (1 + np.exp(-rows @ fit))
            curvature = (rows * (p * (1 - p))[:, None]).T @ rows + np.eye(len(fit))
            fit = fit + np.linalg.solve(curvature, rows.T @ (wins - p) - fit)
        heads.append(fit)
    return np.array(heads)


@dataclass(frozen=True)
class Judges:
    """The reward model's heads and the held-out ones, in standard deviations of the reference: (K, 2 D) each."""

    heads: Numbers
    held_out: Numbers

    def score(self, x: Numbers) -> Numbers:
        """Return what the policy is rewarded with: (N,)."""
        score: Numbers = (look_at(x) @ self.heads.T).mean(-1)
        return score

    def doubt(self, x: Numbers) -> Numbers:
        """Return what the most doubtful of all says: (N,)."""
        doubt: Numbers = (look_at(x) @ np.concatenate([self.heads, self.held_out]).T).min(-1)
        return doubt


@dataclass(frozen=True)
class Outcome:
    """A run: what it logged, the true reward beside it, and the best-of-n curve of its judges and of gold."""

    history: list[dict[str, float]]
    gold: list[float]
    kl: list[float]
    curve: list[alarm.Point]
    best_of_n: list[tuple[float, float, float]]

    @property
    def peak(self) -> int:
        """The rollout with the highest true reward."""
        return int(np.argmax(self.gold))

    @property
    def alarm(self) -> int | None:
        """The first rollout at which two signs were seen."""
        for n in range(1, len(self.history) + 1):
            if len(alarm.find_signs(self.history[:n], curve=self.curve)) >= alarm.SIGNS_OF_ALARM:
                return n - 1
        return None


def simulate(seed: int, *, n_pairs: int, kl_coef: float, rollouts: int) -> Outcome:
    """Train a policy by PPO against reward models fitted to n_pairs judgments."""
    rng = np.random.default_rng(seed)
    world = World.draw(rng)
    fits = [fit_heads(rng, world, n_pairs) for _ in range(2)]
    std = float((look_at(rng.normal(size=(4000, N_TRAITS))) @ fits[0].mean(0)).std())
    judges = Judges(fits[0] / std, fits[1] / std)
    history, gold, distances = [], [], []
    mean, moments = np.zeros(N_TRAITS), [np.zeros(N_TRAITS), np.zeros(N_TRAITS)]
    for number in range(rollouts):
        x = mean + rng.normal(size=(BATCH, N_TRAITS))
        scores, doubt = judges.score(x), judges.doubt(x)
        logps = -((x - mean) ** 2).sum(1) / 2
        log_ratios = logps + (x**2).sum(1) / 2
        history.append(
            {
                alarm.PROXY: float(scores.mean()),
                alarm.DOUBT: float(doubt.mean()),
                alarm.DOUBT_SE: float(doubt.std() / math.sqrt(BATCH)),
                alarm.KL: float(log_ratios.mean()),
                alarm.LENGTH: float(np.corrcoef(scores, x[:, 0])[0, 1]),
            }
        )
        gold.append(world.expect(mean))
        distances.append(float(mean @ mean / 2))
        advantages = scores - kl_coef * log_ratios
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        mean, moments = improve(rng, mean, moments, x, logps, advantages, n_steps=number * PASSES * MINIBATCHES)
    curve, best = draw_best_of_n(rng, world, judges)
    return Outcome(history, gold, distances, curve, best)


def improve(
    rng: np.random.Generator,
    mean: Numbers,
    moments: Sequence[Numbers],
    x: Numbers,
    logps: Numbers,
    advantages: Numbers,
    *,
    n_steps: int,
) -> tuple[Numbers, list[Numbers]]:
    """Take the steps of PPO's clipped objective on one rollout, by Adam; return the mean and Adam's two moments."""
    first, second = moments
    for _ in range(PASSES):
        for rows in np.array_split(rng.permutation(len(x)), MINIBATCHES):
            ratios = np.exp(-((x[rows] - mean) ** 2).sum(1) / 2 - logps[rows])
            is_free = np.where(advantages[rows] > 0, ratios < 1 + CLIP, ratios > 1 - CLIP)
            gradient = ((ratios * advantages[rows] * is_free)[:, None] * (x[rows] - mean)).mean(0)
            n_steps += 1
            first, second = 0.9 * first + 0.1 * gradient, 0.95 * second + 0.05 * gradient**2
            mean = mean + RATE * first / (1 - 0.9**n_steps) / (np.sqrt(second / (1 - 0.95**n_steps)) + 1e-8)
    return mean, [first, second]


def draw_best_of_n(
    rng: np.random.Generator, world: World, judges: Judges
) -> tuple[list[alarm.Point], list[tuple[float, float, float]]]:
    """Return what the doubtful say of the best of n by score, and (KL, score, gold) of it."""
    x = rng.normal(size=(N_PROMPTS, SIZES[-1], N_TRAITS))
    scores = judges.score(x)
    means = {}
    for name, values in (
        ("score", scores),
        ("doubt", judges.doubt(x)),
        ("gold", look_at(x) @ world.weights / world.std),
    ):
        rows = [best_of_n_means(s, v, SIZES) for s, v in zip(scores.tolist(), values.tolist(), strict=True)]
        means[name] = np.mean(rows, 0).tolist()
    kls = [best_of_n_kl(n) for n in SIZES]
    points = [alarm.Point(kl, doubt) for kl, doubt in zip(kls, means["doubt"], strict=True)]
    return points, list(zip(kls, means["score"], means["gold"], strict=True))


def main() -> None:
    for name, setting in SETTINGS.items():
        outcomes = [simulate(seed, **setting) for seed in range(N_SEEDS)]  # type: ignore[arg-type]
        print(f"\n== {name}: seed 0, in standard deviations of the reference's")
        print("sqrt(KL)   score   most doubtful    gold")
        first = outcomes[0]
        for row in range(0, len(first.gold), 8):
            print(
                f"{math.sqrt(first.kl[row]):8.2f} {first.history[row][alarm.PROXY]:7.2f} "
                f"{first.history[row][alarm.DOUBT]:15.2f} {first.gold[row]:7.2f}"
            )
        print("best of n, sqrt(KL): score, gold")
        print("   ".join(f"{math.sqrt(kl):.2f}: {score:.2f}, {gold:.2f}" for kl, score, gold in first.best_of_n))
        print("seed  gold at its peak  at the end  peak at rollout  alarm at rollout")
        for seed, outcome in enumerate(outcomes):
            went_off = "-" if outcome.alarm is None else outcome.alarm
            peak = outcome.gold[outcome.peak]
            print(f"{seed:4} {peak:17.2f} {outcome.gold[-1]:11.2f} {outcome.peak:16} {went_off:>17}")
        in_time = sum(outcome.alarm is not None and outcome.alarm <= outcome.peak for outcome in outcomes)
        alarms = sum(outcome.alarm is not None for outcome in outcomes)
        print(f"alarm in {alarms} of {N_SEEDS} runs, before or at the peak of gold reward in {in_time}")


if __name__ == "__main__":
    main()
