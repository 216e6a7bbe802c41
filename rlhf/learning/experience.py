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
from rlhf.learning.logps import (
    CompletionBatch,
    align_left,
    build_batch,
    completion_logps,
    length_mask,
    token_entropies,
    token_logps,
)
from rlhf.learning.models import autocast
from rlhf.learning.processes import share_of, sum_over_processes

# Scores that differ less than this do not differ: they are left in their own units rather than blown up.
SMALLEST_STD = 1e-6
TOKEN_COLUMNS = ("logps", "reference_logps", "entropies", "values", "sampler_logps")


@dataclass(frozen=True)
class ScoreScale:
    """Mean and standard deviation of the reward model's scores on the reference's completions; frozen for the run."""

    mean: float
    std: float


@dataclass(frozen=True)
class Experience:
    """One rollout. (B, C) tensors begin each row at column 0 and are 0 after the row's completion.

    scores: (B,), normalised, penalty included. raw_scores: (B,). logps, reference_logps, sampler_logps: nats, by the code
    that trains and, where it tells, the one that drew. values, rewards, returns: in units of normalised score. entropies:
    nats. advantages: whitened or not. states: (B, C + 1, H), what a critic with a frozen trunk gives values to: before each
    token and after the last; None for a critic that reads tokens. loss_kl_coef: weight of the KL penalty in the loss, 0
    where it is in the rewards.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    finished: Tensor
    raw_scores: Tensor
    scores: Tensor
    mask: Tensor
    logps: Tensor
    reference_logps: Tensor
    sampler_logps: Tensor
    entropies: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    states: Tensor | None = None
    loss_kl_coef: float = 0.0

    @property
    def row_lengths(self) -> list[int]:
        """Tokens of prompt and completion of each row."""
        return [len(prompt) + len(done) for prompt, done in zip(self.prompts, self.completions, strict=True)]

    def batch(self, rows: Sequence[int], *, pad_id: int) -> CompletionBatch:
        """Return some rows as the models read them."""
        return build_batch([self.prompts[row] for row in rows], [self.completions[row] for row in rows], pad_id=pad_id)

    def tokens(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        """Return values (B, C) or (B, C, H) of some rows as the models list them: (N,) or (N, H), row by row."""
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
    dtype: torch.dtype = torch.float32,
    states: Tensor | None = None,
) -> Experience:
    """Return the experience of sampled completions. Several processes compute a part each and all return the whole.

    Args:
        prompts, rollouts: B of each. raw_scores: (B,), the reward model's. kl_coef: weight of the KL penalty now.
        models: policy and critic as they are now. reference: the frozen policy of the KL penalty.
        dtype: of the trunks' matrix products. states: (B, C + 1, H), where the critic is a head on them.
    """
    completions = [rollout.ids for rollout in rollouts]
    device = next(models.parameters()).device
    finished = torch.tensor([rollout.finished for rollout in rollouts], device=device)
    mask = length_mask(torch.tensor([len(ids) for ids in completions], device=device))  # (B, C)
    scorer = TokenScorer(models, reference, config=config, pad_id=pad_id, dtype=dtype)
    columns = scorer.score(prompts, rollouts, mask, with_critic=states is None)
    scores = normalise_scores(raw_scores.to(device), finished, scale, config)
    in_reward, in_loss = (kl_coef, 0.0) if config.kl_in == "reward" else (0.0, kl_coef)
    rewards = token_rewards(scores, columns["logps"], columns["reference_logps"], mask, kl_coef=in_reward)
    if states is not None:
        columns["values"] = models.critic(states)[:, :-1] * mask
    end_values = None
    if config.truncated_value == "critic":
        end_values = scorer.expect(prompts, completions, finished, states=states)
    learned = whiten(rewards, mask, keeps_mean=True) if config.whiten_rewards == "on" else rewards
    advantages, returns = gae(
        learned, columns["values"], mask, gamma=config.gamma, lam=config.lam, end_values=end_values
    )
    return Experience(
        prompts=prompts,
        completions=completions,
        finished=finished,
        raw_scores=raw_scores.to(device),
        scores=scores,
        mask=mask,
        **columns,
        rewards=rewards,
        advantages=whiten(advantages, mask) if config.whiten_advantages == "on" else advantages,
        returns=returns,
        states=states,
        loss_kl_coef=in_loss,
    )


@dataclass(frozen=True)
class TokenScorer:
    """Asks policy, reference and critic about tokens that were drawn, rows of like length together.

    Args: pad_id: fills rows on the right. dtype: of the trunks' matrix products.
    """

    models: ActorCritic
    reference: PreTrainedModel
    config: PPOConfig
    pad_id: int
    dtype: torch.dtype

    def score(
        self, prompts: list[list[int]], rollouts: list[Rollout], mask: Tensor, *, with_critic: bool
    ) -> dict[str, Tensor]:
        """Return TOKEN_COLUMNS of every completion token: (B, C) each, 0 outside the mask, and for who is not asked."""
        columns = torch.zeros(len(TOKEN_COLUMNS), *mask.shape, device=mask.device)
        completions = [rollout.ids for rollout in rollouts]
        for rows in self.plan(prompts, completions):
            batch = build_batch([prompts[row] for row in rows], [completions[row] for row in rows], pad_id=self.pad_id)
            batch = batch.to(mask.device)
            drawn = torch.tensor([logp for row in rows for logp in rollouts[row].logps], device=mask.device)
            found = self.ask(batch, drawn, with_critic=with_critic)
            for name, tokens in found.items():
                put_rows(columns[TOKEN_COLUMNS.index(name)], rows, tokens, batch)
        return dict(zip(TOKEN_COLUMNS, sum_over_processes(columns), strict=True))

    def ask(self, batch: CompletionBatch, drawn: Tensor, *, with_critic: bool) -> dict[str, Tensor]:
        """Return what is known of the tokens of one batch: (N,) each. drawn: (N,) or nothing, by whoever sampled, nats."""
        temperature = self.config.temperature
        with autocast(batch.input_ids.device, self.dtype):
            reference_logps = completion_logps(self.reference, batch, temperature=temperature)
            is_sampler = self.config.old_logps == "sampler"
            logits, values = self.models(batch, with_policy=not is_sampler, with_critic=with_critic)
            if is_sampler:
                # -log p of a drawn token is the entropy in the mean.
                found = {"logps": drawn, "entropies": -drawn}
            else:
                found = {
                    "logps": token_logps(logits, batch.targets, temperature=temperature),
                    "entropies": token_entropies(logits, temperature=temperature),
                }
        known = {"sampler_logps": drawn} if len(drawn) else {}
        valued = {"values": values} if with_critic else {}
        return {**found, **known, **valued, "reference_logps": reference_logps}

    def expect(
        self, prompts: list[list[int]], completions: list[list[int]], finished: Tensor, *, states: Tensor | None
    ) -> Tensor:
        """Return what the critic expects after the last token of each unfinished completion: (B,), 0 for the others."""
        if states is not None:
            ends = torch.tensor([len(ids) for ids in completions], device=finished.device)  # (B,)
            values: Tensor = self.models.critic(states[torch.arange(len(ends), device=finished.device), ends])
            return values * ~finished
        expected = torch.zeros(len(prompts), device=finished.device)
        cut = [row for row, done in enumerate(finished.tolist()) if not done]
        # A value is read before each completion token; one more token makes it read after the last.
        longer = [[*completions[row], self.pad_id] for row in cut]
        for numbers in self.plan([prompts[row] for row in cut], longer):
            rows = [cut[number] for number in numbers]
            batch = build_batch(
                [prompts[row] for row in rows], [longer[number] for number in numbers], pad_id=self.pad_id
            )
            batch = batch.to(finished.device)
            with autocast(finished.device, self.dtype):
                values = align_left(self.models(batch, with_policy=False)[1], batch.lengths)  # (b, C + 1)
            expected[rows] = values.gather(1, batch.lengths[:, None] - 1).squeeze(1)
        return sum_over_processes(expected)

    def plan(self, prompts: list[list[int]], completions: list[list[int]]) -> list[list[int]]:
        """Return this process's rows in batches of like length."""
        lengths = [len(prompt) + len(ids) for prompt, ids in zip(prompts, completions, strict=True)]
        mine = share_of(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
        batches = batch_by_tokens([lengths[row] for row in mine], self.config.micro_batch_tokens)
        return [[mine[number] for number in batch] for batch in batches]


def put_rows(target: Tensor, rows: list[int], values: Tensor, batch: CompletionBatch) -> None:
    """Write the values (N,) of a batch's tokens into its rows of `target` (B, C)."""
    aligned = align_left(values, batch.lengths)
    target[torch.tensor(rows, device=target.device), : aligned.shape[1]] = aligned
