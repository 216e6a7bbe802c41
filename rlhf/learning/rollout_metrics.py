"""What a rollout is like, in numbers: PPO's objective and the signs of reward hacking."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import torch
from torch import Tensor

from rlhf.learning.experience import Experience

# One token of a policy gone astray would be all that a mean over a rollout shows.
MAX_K3 = 10.0
# Completions that are compared with each other, and the longest run of tokens that they are compared by.
SELF_BLEU_ROWS = 64
SELF_BLEU_ORDER = 4


def estimate_k3(log_ratios: Tensor) -> Tensor:
    """Return k3, the estimate of KL(p || q) that is never negative, capped at 10 nats a token.

    Args: log_ratios: log p - log q of tokens drawn from p, nats, any shape.
    Returns: nats, the same shape.
    Source: J. Schulman, "Approximating KL divergence", 2020.
    """
    log_ratios = log_ratios.clamp(-20, 20)
    return (torch.expm1(-log_ratios) + log_ratios).clamp(max=MAX_K3)


def describe_rollout(experience: Experience) -> dict[str, float]:
    """Return the metrics of one rollout; means are over sequences for objective/*, over valid tokens otherwise."""
    mask, lengths = experience.mask, experience.mask.sum(1).float()
    log_ratio = (experience.logps - experience.reference_logps) * mask  # (B, C), k1
    non_score = experience.rewards.sum(1) - experience.scores  # (B,)
    explained = 1 - (experience.returns - experience.values)[mask].var() / experience.returns[mask].var().clamp(
        min=1e-8
    )
    return {
        "objective/kl": log_ratio.sum(1).mean().item(),
        "objective/kl_token_k3": estimate_k3(log_ratio[mask]).mean().item(),
        "objective/entropy": -(experience.logps * mask).sum(1).mean().item(),
        "objective/scores": experience.raw_scores.mean().item(),
        "objective/scores_norm": experience.scores.mean().item(),
        "objective/non_score_reward": non_score.mean().item(),
        "objective/rlhf_reward": experience.rewards.sum(1).mean().item(),
        "policy/entropy_avg": experience.entropies[mask].mean().item(),
        "val/explained_variance": explained.item(),
        "val/num_eos_tokens": experience.finished.sum().item(),
        "rollout/finished_frac": experience.finished.float().mean().item(),
        "rollout/len_mean": lengths.mean().item(),
        "rollout/len_p95": lengths.quantile(0.95).item(),
        "rollout/reward_len_corr": correlation(experience.raw_scores, lengths),
        "rollout/distinct_2": distinct_2(experience.completions),
        "rollout/self_bleu": self_bleu(experience.completions[:SELF_BLEU_ROWS]),
        **describe_gap(experience),
    }


def describe_gap(experience: Experience) -> dict[str, float]:
    """Return how far the sampler's log-probabilities lie from the trainer's, nats a token; nothing where it tells none."""
    if not experience.sampler_logps.any():
        return {}
    gap = (experience.logps - experience.sampler_logps)[experience.mask].abs()
    return {"val/logprob_gap": gap.mean().item()}


def correlation(left: Tensor, right: Tensor) -> float:
    """Return Pearson's correlation, 0 when one side does not vary. left, right: (B,)."""
    left, right = left.double() - left.double().mean(), right.double() - right.double().mean()
    norm = (left.norm() * right.norm()).item()
    return (left @ right).item() / norm if norm > 1e-12 else 0.0


def distinct_2(completions: list[list[int]]) -> float:
    """Return the share of token pairs that are unlike all others: 1 is all different, near 0 is one phrase repeated."""
    pairs = [pair for ids in completions for pair in itertools.pairwise(ids)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def self_bleu(completions: list[list[int]]) -> float:
    """Return the mean BLEU of each completion against all the others: near 1, the policy says one thing.

    Without the brevity penalty, and with one added to the counts above single tokens, so that short rows have a value.

    Source: Texygen, arXiv 1802.01886; smoothing: Lin and Och 2004, ACL P04-1077.
    """
    if len(completions) < 2:
        return 0.0
    logs = [0.0] * len(completions)
    for order in range(1, SELF_BLEU_ORDER + 1):
        counts = [Counter(zip(*(ids[start:] for start in range(order)), strict=False)) for ids in completions]
        added = int(order > 1)
        for row, (kept, total) in enumerate(count_shared(counts)):
            precision = (kept + added) / (total + added) if total + added else 0.0
            logs[row] += math.log(precision) / SELF_BLEU_ORDER if precision else -math.inf
    return sum(math.exp(each) for each in logs) / len(logs)


def count_shared(counts: list[Counter[tuple[int, ...]]]) -> list[tuple[int, int]]:
    """Return for each row how many of its runs another row has as often, and how many it has."""
    highest: dict[tuple[int, ...], tuple[int, int]] = {}  # the two largest counts of a run in one row
    for row in counts:
        for run, count in row.items():
            first, second = highest.get(run, (0, 0))
            highest[run] = (count, first) if count > first else (first, max(second, count))

    def kept(run: tuple[int, ...], count: int) -> int:
        first, second = highest[run]
        return min(count, second if count == first else first)

    return [(sum(kept(run, count) for run, count in row.items()), row.total()) for row in counts]
