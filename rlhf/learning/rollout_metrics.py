"""What a rollout is like, in numbers: PPO's objective and the signs of reward hacking."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from rlhf.learning.experience import Experience

# One token of a policy gone astray would be all that a mean over a rollout shows.
MAX_K3 = 10.0


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
    }


def correlation(left: Tensor, right: Tensor) -> float:
    """Return Pearson's correlation, 0 when one side does not vary. left, right: (B,)."""
    left, right = left.double() - left.double().mean(), right.double() - right.double().mean()
    norm = (left.norm() * right.norm()).item()
    return (left @ right).item() / norm if norm > 1e-12 else 0.0


def distinct_2(completions: list[list[int]]) -> float:
    """Return the share of token pairs that are unlike all others: 1 is all different, near 0 is one phrase repeated."""
    pairs = [pair for ids in completions for pair in itertools.pairwise(ids)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0
