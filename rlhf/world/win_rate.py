"""How often one policy's completions beat another's under the hidden rule."""

from __future__ import annotations

import random
from dataclasses import dataclass

from rlhf.contract.records import Message
from rlhf.world.judge import GoldScore, gold_score

N_RESAMPLES = 1000
PARTS = ("correctness", "politeness", "brevity", "finished", "repetition")


@dataclass(frozen=True)
class WinRate:
    """rate: share of prompts won, ties half; low, high: its 95% interval. parts, baseline_parts: mean of each part."""

    rate: float
    low: float
    high: float
    n: int
    parts: dict[str, float]
    baseline_parts: dict[str, float]


def win_rate(prompts: list[list[Message]], texts: list[str], baseline_texts: list[str], *, seed: int = 0) -> WinRate:
    """Return how often `texts` beat `baseline_texts`, prompt by prompt; the interval is a bootstrap over the prompts.

    Raises: ValueError when the three lists differ in length or are empty.
    """
    if not prompts or not len(prompts) == len(texts) == len(baseline_texts):
        raise ValueError(
            f"needs one text of each policy a prompt, got {len(prompts)}, {len(texts)}, {len(baseline_texts)}"
        )
    scores = [gold_score(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    baseline = [gold_score(prompt, text) for prompt, text in zip(prompts, baseline_texts, strict=True)]
    wins = [compare(ours.total, theirs.total) for ours, theirs in zip(scores, baseline, strict=True)]
    low, high = bootstrap_interval(wins, seed=seed)
    return WinRate(
        rate=sum(wins) / len(wins),
        low=low,
        high=high,
        n=len(wins),
        parts=average_parts(scores),
        baseline_parts=average_parts(baseline),
    )


def compare(score: float, baseline: float) -> float:
    """Return 1 for a win, 0 for a loss, 0.5 for a tie."""
    if abs(score - baseline) < 1e-9:
        return 0.5
    return float(score > baseline)


def bootstrap_interval(values: list[float], *, seed: int) -> tuple[float, float]:
    """Return the 2.5% and 97.5% points of the mean over resampled values."""
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(N_RESAMPLES))
    return means[round(0.025 * (N_RESAMPLES - 1))], means[round(0.975 * (N_RESAMPLES - 1))]


def average_parts(scores: list[GoldScore]) -> dict[str, float]:
    return {part: sum(getattr(score, part) for score in scores) / len(scores) for part in PARTS}
