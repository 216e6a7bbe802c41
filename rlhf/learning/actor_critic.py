"""The two models that PPO trains, as one module, so that one forward pass serves both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.learning.logps import CompletionBatch, completion_logits


class Critic(nn.Module):
    """A reward model that gives every state a value, in units of the normalised reward.

    Args: reward_model: a decoder with a scalar head `score`; it becomes part of the critic.
    """

    def __init__(self, reward_model: PreTrainedModel) -> None:
        super().__init__()
        self.model = reward_model
        # What normalises the scores also brings the reward model's head to their scale: the critic starts near them.
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def set_scale(self, mean: float, std: float) -> None:
        """Declare the raw rewards' mean and standard deviation."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def forward(self, batch: CompletionBatch) -> Tensor:
        """Return the value of the state before each completion token: (N,) fp32, row by row."""
        hidden = self.model.base_model(input_ids=batch.input_ids, use_cache=False).last_hidden_state  # (B, T, H)
        raw = self.model.score(hidden[batch.predicting]).float().mean(-1)  # (N,), over the heads
        return (raw - self.mean) / self.std


class ActorCritic(nn.Module):
    """policy: a causal language model. critic: a `Critic` with a trunk of its own."""

    def __init__(self, policy: PreTrainedModel, critic: Critic) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    def forward(
        self, batch: CompletionBatch, *, with_policy: bool = True, with_critic: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the logits (N, V) and the value (N,) of each completion token, None for who is not asked."""
        logits = completion_logits(self.policy, batch) if with_policy else None
        return logits, self.critic(batch) if with_critic else None
