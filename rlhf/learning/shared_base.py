"""PPO over one frozen base: adapters are the policy, the critic and the reward model, and the bare base is the reference.

Where the reward model is no adapter over the policy's base there are two: the policy's, which bare is the reference, and the
reward model's, which bare is the reward model and through an adapter the critic.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic, Critic, SharedCritic
from rlhf.learning.adapters import (
    ADAPTER,
    BASE,
    FOLDER,
    activate,
    adapter_layers,
    adapter_weights,
    describe_base,
    find_heads,
    load_adapter,
    put_adapter,
    using,
)

if TYPE_CHECKING:
    from rlhf.learning.frozen_critic import FrozenCritic

VALUE, REWARD = "value", "reward"
TRAINED = "trained.safetensors"


class Seen(nn.Module):
    """A model seen through one adapter, or through none; it owns none of the weights, and freezing it freezes nothing."""

    def __init__(self, model: PreTrainedModel, adapter: str | None) -> None:
        super().__init__()
        self.through = (model, adapter)  # in a tuple, where nn.Module does not look for weights

    @property
    def model(self) -> PreTrainedModel:
        """The model itself."""
        return self.through[0]

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def base_model(self) -> PreTrainedModel:
        """The model's trunk; who calls it by itself must switch adapters."""
        trunk: PreTrainedModel = self.model.base_model
        return trunk

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def get_output_embeddings(self) -> nn.Module:
        """Return the language model's head."""
        head: nn.Module = self.model.get_output_embeddings()
        return head

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute as the model does through that adapter."""
        model, adapter = self.through
        with using(model, adapter):
            return model(*args, **kwargs)


class AdapterActorCritic(ActorCritic):
    """Policy and critic whose adapters and scalar head are trained, and nothing else."""

    def __init__(self, policy: PreTrainedModel, critic: Critic | FrozenCritic | SharedCritic) -> None:
        super().__init__(policy, critic)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(f".{ADAPTER}." in name or f".{VALUE}." in name)
        for head in critic.trained_heads():
            head.requires_grad_(True)
        activate(adapter_layers(policy), ADAPTER)
        self.trained = self.list_trained()

    def list_trained(self) -> set[str]:
        """Return the names of the weights that are trained now."""
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def require_same_training(self) -> None:
        """Raise RuntimeError unless the same weights are trained as at the start, and the policy's adapter is active.

        A switch of adapters that is not taken back makes a policy stop learning, or the critic speak, without a word.
        """
        changed = self.list_trained() ^ self.trained
        if changed:
            raise RuntimeError(f"a switch of adapters changed what is trained: {', '.join(sorted(changed)[:3])}")
        for layer in adapter_layers(self.policy):
            if layer.disable_adapters or layer.active_adapters != [ADAPTER]:
                raise RuntimeError(f"a switch of adapters was not taken back: {layer.active_adapters} is active")

    def trained_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return what is trained of the policy, and of the critic."""
        trained = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        of_policy = [parameter for name, parameter in trained if f".{ADAPTER}." in name]
        of_critic = [parameter for name, parameter in trained if f".{ADAPTER}." not in name]
        return of_policy, of_critic

    def save(self, folder: Path) -> None:
        """Write what is trained into a folder."""
        trained = {name: value.detach().cpu() for name, value in self.named_parameters() if value.requires_grad}
        save_file(trained, folder / TRAINED)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Take up the trained weights of a folder that `save` wrote."""
        saved = load_file(folder / TRAINED)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(saved[name])


def shares_base(config: PPOConfig) -> bool:
    """Say whether the reward model stands over the policy's own base. Raises: ContractError when it must and does not."""
    path = Path(config.reward_model) / FOLDER / BASE
    if not config.lora_rank or config.share_base == "off":
        return False
    if path.is_file() and json.loads(path.read_text("utf-8")) == describe_base(Path(config.base_model)):
        return True
    if config.share_base == "on":
        raise ContractError(
            "share_base=on needs a reward model that is an adapter over base_model: train one with lora_rank from the very "
            "checkpoint that PPO starts from, or leave share_base at auto"
        )
    return False


def read_over(policy: PreTrainedModel, path: str) -> PreTrainedModel:
    """Return a reward model that reads with the policy's trunk, through the adapter `reward`, and has its own head."""
    folder = Path(path)
    shape = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    put_adapter(policy, LoraConfig.from_pretrained(str(folder / FOLDER)), name=REWARD, seed=0)
    reward_model = build_over(shape, trunk=policy)
    for head in find_heads(reward_model):
        getattr(reward_model, head).to_empty(device=policy.device)
    load_adapter(reward_model, folder / FOLDER, REWARD)
    return reward_model


def share_trunk(reward_model: PreTrainedModel) -> PreTrainedModel:
    """Return a second model with the reward model's trunk and a copy of its head."""
    twin = build_over(reward_model.config, trunk=reward_model)
    for head in find_heads(reward_model):
        setattr(twin, head, copy.deepcopy(getattr(reward_model, head)))
    return twin


def build_over(shape: Any, *, trunk: PreTrainedModel) -> PreTrainedModel:
    """Return a reward model around the trunk of another model; its head is still without memory."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(shape, dtype=torch.float32)
    if model.base_model_prefix != trunk.base_model_prefix:
        raise ContractError(f"{type(model).__name__} and {type(trunk).__name__} have no trunk in common")
    setattr(model, model.base_model_prefix, trunk.base_model)
    return model.eval()


@torch.no_grad()
def copy_adapter(model: PreTrainedModel, *, source: str, target: str) -> None:
    """Put a second adapter into the model that begins as a copy of one it has."""
    put_adapter(model, model.peft_config[source], name=target, seed=0)
    weights = adapter_weights(model, source)
    for key, parameter in adapter_weights(model, target).items():
        parameter.copy_(weights[key])
