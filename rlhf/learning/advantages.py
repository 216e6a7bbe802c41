"""From scores and log-probabilities to advantages."""

from __future__ import annotations

import torch
from torch import Tensor


def token_rewards(scores: Tensor, logps: Tensor, reference_logps: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
    """Return the reward of every token: the KL penalty at each, the score at the last one alone.

    Args:
        scores: (B,), normalised. logps, reference_logps: (B, C), nats. mask: (B, C) bool, rows begin at column 0.
        kl_coef: weight of the penalty k1 = log pi - log ref.
    Returns: (B, C), 0 outside the mask.
    Source: arXiv 1909.08593 eq. 2; why k1 belongs in the reward: arXiv 2512.21852.
    """
    rewards = -kl_coef * (logps - reference_logps) * mask  # (B, C)
    last = mask.sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores.unsqueeze(1).to(rewards.dtype))


def steer_kl_coef(kl_coef: float, kl: float, *, goal: float, n_completions: int, horizon: int) -> float:
    """Return the weight of the KL penalty for the next rollout: raised while the KL is over its goal, lowered under it.

    Args:
        kl_coef: the weight now. kl: mean KL to the reference of the last rollout, nats a completion. goal: > 0, nats.
        n_completions: of the last rollout. horizon: completions over which an error of 20% is answered by 20%.
    Source: arXiv 1909.08593 section 2.2.
    """
    error = min(max(kl / goal - 1, -0.2), 0.2)
    return kl_coef * (1 + error * n_completions / horizon)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float, end_values: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return generalised advantage estimates and returns.

    Args:
        rewards, values: (B, C). mask: (B, C) bool, rows begin at column 0. gamma: discount. lam: GAE's lambda.
        end_values: (B,), the value of the state after each row's last token; 0 where it is not given.
    Returns: advantages and returns = advantages + values, (B, C), 0 outside the mask.
    Source: arXiv 1506.02438 eq. 16.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])  # (B,), the advantage of the token after
    next_value = torch.zeros_like(running) if end_values is None else end_values
    for column in range(values.shape[1] - 1, -1, -1):
        inside = mask[:, column]
        delta = rewards[:, column] + gamma * next_value - values[:, column]
        running = (delta + gamma * lam * running) * inside
        advantages[:, column] = running
        next_value = torch.where(inside, values[:, column], next_value)
    return advantages, (advantages + values) * mask


def whiten(values: Tensor, mask: Tensor, *, keeps_mean: bool = False) -> Tensor:
    """Return the values with mean 0, or their own, and standard deviation 1 over the mask, 0 outside. Both: (B, C)."""
    inside = values[mask]
    whitened = (values - inside.mean()) / (inside.std(correction=0) + 1e-8)
    return (whitened + inside.mean() if keeps_mean else whitened) * mask
