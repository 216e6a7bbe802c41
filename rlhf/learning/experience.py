"""One rollout: completions sampled from the policy, scored, and turned into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.advantages import gae, token_rewards, whiten
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.generation import Rollout
from rlhf.learning.logps import CompletionBatch, align_left, build_batch, completion_logps, length_mask, token_logps

# Scores that differ less than this do not differ: they are left in their own units rather than blown up.
SMALLEST_STD = 1e-6
TOKEN_COLUMNS = ("logps", "reference_logps", "entropies", "values")


@dataclass(frozen=True)
class ScoreScale:
    """Mean and standard deviation of the reward model's scores on the reference's completions; frozen for the run."""

    mean: float
    std: float


@dataclass(frozen=True)
class Experience:
    """One rollout. (B, C) tensors begin each row at column 0 and are 0 after the row's completion.

    scores: (B,), normalised, penalty included. raw_scores: (B,). logps, reference_logps: nats. values, rewards, returns:
    in units of normalised score. entropies: nats. advantages: whitened.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    finished: Tensor
    raw_scores: Tensor
    scores: Tensor
    mask: Tensor
    logps: Tensor
    reference_logps: Tensor
    entropies: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor

    @property
    def row_lengths(self) -> list[int]:
        """Tokens of prompt and completion of each row."""
        return [len(prompt) + len(done) for prompt, done in zip(self.prompts, self.completions, strict=True)]

    def batch(self, rows: Sequence[int], *, pad_id: int) -> CompletionBatch:
        """Return some rows as the models read them."""
        return build_batch([self.prompts[row] for row in rows], [self.completions[row] for row in rows], pad_id=pad_id)

    def tokens(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        """Return values (B, C) of some rows as the models list them: (N,), row by row."""
        index = torch.as_tensor(rows, device=values.device)
        return values[index][self.mask[index]]


def normalise_scores(raw_scores: Tensor, finished: Tensor, scale: ScoreScale, config: PPOConfig) -> Tensor:
    """Return the scores the policy learns from: normalised, clipped, less the penalty where no end token came.

    Args: raw_scores: (B,). finished: (B,) bool.
    Returns: (B,), in standard deviations of the reference's scores.
    """
    normalised = ((raw_scores - scale.mean) / scale.std).clamp(-config.reward_clip, config.reward_clip)
    return normalised - config.missing_eos_penalty * (~finished)


def measure_scale(raw_scores: Tensor) -> ScoreScale:
    """Return the scale that gives these scores mean 0 and standard deviation 1. raw_scores: (B,)."""
    std = raw_scores.std(correction=0).item()
    return ScoreScale(raw_scores.mean().item(), std if std > SMALLEST_STD else 1.0)


@torch.no_grad()
def build_experience(
    prompts: list[list[int]],
    rollouts: list[Rollout],
    raw_scores: Tensor,
    *,
    models: ActorCritic,
    reference: PreTrainedModel,
    scale: ScoreScale,
    kl_coef: float,
    config: PPOConfig,
    pad_id: int,
) -> Experience:
    """Return the experience of sampled completions.

    Args:
        prompts, rollouts: B of each. raw_scores: (B,), the reward model's. kl_coef: weight of the KL penalty now.
        models: policy and critic as they are now. reference: the frozen policy of the KL penalty.
    """
    completions = [rollout.ids for rollout in rollouts]
    device = next(models.parameters()).device
    finished = torch.tensor([rollout.finished for rollout in rollouts], device=device)
    mask = length_mask(torch.tensor([len(ids) for ids in completions], device=device))  # (B, C)
    columns = score_tokens(prompts, completions, mask, models=models, reference=reference, config=config, pad_id=pad_id)
    scores = normalise_scores(raw_scores.to(device), finished, scale, config)
    rewards = token_rewards(scores, columns["logps"], columns["reference_logps"], mask, kl_coef=kl_coef)
    advantages, returns = gae(rewards, columns["values"], mask, gamma=config.gamma, lam=config.lam)
    return Experience(
        prompts=prompts,
        completions=completions,
        finished=finished,
        raw_scores=raw_scores.to(device),
        scores=scores,
        mask=mask,
        **columns,
        rewards=rewards,
        advantages=whiten(advantages, mask),
        returns=returns,
    )


def score_tokens(
    prompts: list[list[int]],
    completions: list[list[int]],
    mask: Tensor,
    *,
    models: ActorCritic,
    reference: PreTrainedModel,
    config: PPOConfig,
    pad_id: int,
) -> dict[str, Tensor]:
    """Return logps, reference_logps, entropies and values of every completion token: (B, C) each, 0 outside the mask."""
    columns = {name: torch.zeros(mask.shape, device=mask.device) for name in TOKEN_COLUMNS}
    row_lengths = [len(prompt) + len(ids) for prompt, ids in zip(prompts, completions, strict=True)]
    for rows in batch_by_tokens(row_lengths, config.micro_batch_tokens):
        batch = build_batch([prompts[row] for row in rows], [completions[row] for row in rows], pad_id=pad_id)
        batch = batch.to(mask.device)
        logits, values = models(batch)
        found = {
            "logps": token_logps(logits, batch.targets, temperature=config.temperature),
            "reference_logps": completion_logps(reference, batch, temperature=config.temperature),
            "entropies": token_entropies(logits / config.temperature),
            "values": values,
        }
        for name, tokens in found.items():
            put_rows(columns[name], rows, tokens, batch)
    return columns


def put_rows(target: Tensor, rows: list[int], values: Tensor, batch: CompletionBatch) -> None:
    """Write the values (N,) of a batch's tokens into its rows of `target` (B, C)."""
    aligned = align_left(values, batch.lengths)
    target[torch.tensor(rows, device=target.device), : aligned.shape[1]] = aligned


def token_entropies(logits: Tensor) -> Tensor:
    """Return the entropy of each distribution, nats. logits: (N, V). Returns: (N,)."""
    logps = logits.log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)
