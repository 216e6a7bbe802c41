"""The two models that PPO trains, as one module, so that one forward pass serves both."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.learning.adapters import find_heads, using
from rlhf.learning.last_layer import last_layer_at
from rlhf.learning.logps import CompletionBatch, completion_logits, completion_states

if TYPE_CHECKING:
    from rlhf.learning.frozen_critic import FrozenCritic


HEAD = "head.safetensors"


class ValueScale(nn.Module):
    """What normalises the scores also brings a reward model's head to their scale: a critic starts near them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def set_scale(self, mean: float, std: float) -> None:
        """Declare the raw rewards' mean and standard deviation."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def normalise(self, raw: Tensor) -> Tensor:
        """Return values in units of the normalised reward. raw: of any shape, in the reward model's units."""
        return (raw - self.mean) / self.std


class Critic(ValueScale):
    """A reward model that gives every state a value, in units of the normalised reward.

    Args:
        reward_model: a decoder with a scalar head `score`; it becomes part of the critic.
        adapter: the adapter it computes with, where its trunk is not its own.
    """

    def __init__(self, reward_model: PreTrainedModel, *, adapter: str | None = None) -> None:
        super().__init__()
        self.model = reward_model
        self.adapter = adapter

    def forward(self, batch: CompletionBatch) -> Tensor:
        """Return the value of the state before each completion token: (N,) fp32, row by row."""
        trunk = self.model.base_model
        places = batch.predicting.nonzero(as_tuple=True)
        with using(self.model, self.adapter) if self.adapter else nullcontext(), last_layer_at(trunk, places):
            hidden = trunk(input_ids=batch.input_ids, use_cache=False).last_hidden_state  # (B, T, H)
        # The head computes in fp32 whatever the trunk was told: values are compared with sums of small rewards.
        with torch.autocast(hidden.device.type, enabled=False):
            raw = self.model.score(hidden[places].float()).mean(-1)  # (N,), over the heads
        return self.normalise(raw)

    def trained_heads(self) -> list[nn.Module]:
        """Return what learns whole, whatever adapters do."""
        return [getattr(self.model, head) for head in find_heads(self.model)]

    def save(self, folder: Path) -> None:
        """Write the whole critic into a folder."""
        self.model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Take up the weights of a folder that `save` wrote."""
        load_weights(self.model, folder)


class FreshCritic(Critic):
    """A critic over a trunk that has scored nothing: its head starts at zero, in units of the normalised reward already."""

    def __init__(self, model: PreTrainedModel, *, adapter: str | None = None) -> None:
        super().__init__(model, adapter=adapter)
        nn.init.zeros_(model.score.weight)

    def set_scale(self, mean: float, std: float) -> None:
        """Keep to the normalised reward's units."""


class HeadCritic(ValueScale):
    """A critic that is small: all that learns of it is its own, and is saved by itself."""

    def trained_heads(self) -> list[nn.Module]:
        """Return what learns whole, whatever adapters do."""
        return list(self.children())

    def save(self, folder: Path) -> None:
        """Write the head into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().cpu() for name, value in self.named_parameters()}, folder / HEAD)

    def load(self, folder: Path) -> None:
        """Take up the head of a folder that `save` wrote."""
        saved = load_file(folder / HEAD)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(saved[name])


class SharedCritic(HeadCritic):
    """A straight line over the states that the policy itself reads, which learn from the value loss too.

    Completions came to hold 4.90 rewarded tokens by it, 4.66 where the critic had a trunk of its own and 4.48 on a frozen one
    (means of 25 rollouts and five seeds of the test in which a rewarded token becomes common); a layer more gave less.
    The policy's states know nothing of the reward yet: the line begins at 0, in units of the normalised reward.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        weight = policy.get_output_embeddings().weight  # (V, H)
        self.head = nn.Linear(weight.shape[1], 1, device=weight.device, dtype=torch.float32)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def set_scale(self, mean: float, std: float) -> None:
        """Keep to the normalised reward's units."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the value of each state. states: (N, H). Returns: (N,) fp32."""
        with torch.autocast(states.device.type, enabled=False):
            values: Tensor = self.head(states.float()).squeeze(-1)
        return values


class ActorCritic(nn.Module):
    """policy: a causal language model. critic: with a trunk of its own, or a head on states: the policy's, or frozen ones."""

    def __init__(self, policy: PreTrainedModel, critic: Critic | FrozenCritic | SharedCritic) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    def forward(
        self,
        batch: CompletionBatch,
        states: Tensor | None = None,
        *,
        with_policy: bool = True,
        with_critic: bool = True,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the logits (N, V) and the value (N,) of each completion token, None for who is not asked.

        Args: states: before each completion token, (N, H), for a critic that reads none itself.
        """
        if self.shares_pass and with_critic:
            return self.read_once(batch, with_policy=with_policy)
        logits = completion_logits(self.policy, batch) if with_policy else None
        return logits, self.critic(batch if states is None else states) if with_critic else None

    @property
    def shares_pass(self) -> bool:
        """Whether one pass of the policy is the critic's too."""
        return isinstance(self.critic, SharedCritic)

    def read_once(self, batch: CompletionBatch, *, with_policy: bool) -> tuple[Tensor | None, Tensor]:
        """Return logits and values of one pass; while the policy is not asked, its trunk does not learn from values."""
        with torch.set_grad_enabled(with_policy and torch.is_grad_enabled()):
            logits, states = completion_states(self.policy, batch, with_logits=with_policy)
        return logits, self.critic(states)

    def trained_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return what is trained of the policy, and of the critic."""
        return list(self.policy.parameters()), list(self.critic.parameters())

    def require_same_training(self) -> None:
        """Check that the same weights are trained as at the start; whole models cannot lose any."""

    def save(self, folder: Path) -> None:
        """Write what `load` needs into a folder."""
        self.policy.save_pretrained(folder / "policy")
        self.critic.save(folder / "critic")

    def load(self, folder: Path) -> None:
        """Take up the weights of a folder that `save` wrote."""
        load_weights(self.policy, folder / "policy")
        self.critic.load(folder / "critic")


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Load a saved model's weights into `model`, in place."""
    saved = type(model).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    model.load_state_dict(saved.state_dict())
