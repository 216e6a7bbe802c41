"""The models PPO plays with, from the folders of its configuration: four whole ones, or adapters over one base or two."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic, Critic, FreshCritic, SharedCritic
from rlhf.learning.adapters import add_adapter, describe_adapter, put_adapter
from rlhf.learning.frozen_critic import FrozenCritic, StateReader
from rlhf.learning.halving import halve_frozen
from rlhf.learning.models import choose_attention, choose_recomputing, load_policy, pick_trunk_dtype
from rlhf.learning.reward_card import require_parity
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.shared_base import (
    REWARD,
    VALUE,
    AdapterActorCritic,
    Seen,
    copy_adapter,
    read_over,
    share_trunk,
    shares_base,
)

READS_OTHERS = "share_base=on needs a reward model over base_model, and this one reads other tokens"


class PPOModels(NamedTuple):
    """What is trained, the frozen reference of the KL penalty, and the frozen reward model."""

    trained: ActorCritic
    reference: nn.Module
    reward_model: nn.Module


def load_models(
    config: PPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    longest_row: int,
    reward_tokenizer: PreTrainedTokenizerBase | None = None,
) -> PPOModels:
    """Return the models of a run. The critic starts as the reward model, the policy as the reference.

    Args: reward_tokenizer: of a reward model that reads other tokens than the policy's, or has no trunk to lend; the
        critic then starts anew.
    Raises: ContractError for folders that cannot be used, a reward model that scores otherwise than when it was trained, or
    a base that cannot be shared and must.
    """
    policy = load_policy(config.base_model)
    if config.critic == "shared":
        models = load_one_learner(config, policy, reward_tokenizer or tokenizer, same_tokens=reward_tokenizer is None)
    elif reward_tokenizer is not None:
        models = load_apart(config, tokenizer, policy, reward_tokenizer)
    elif not config.lora_rank:
        models = load_whole(config, tokenizer, policy)
    elif shares_base(config):
        models = load_over_one_base(config, policy)
    else:
        models = load_over_two_bases(config, tokenizer, policy)
    for module in {id(module): module for each in models for module in find_models(each)}.values():
        choose_attention(module, longest_row=longest_row)
    require_parity(models.reward_model, config.reward_model)
    spare_memory(config, models)
    return models


def spare_memory(config: PPOConfig, models: PPOModels) -> None:
    """Let what learns compute activations twice, and what only lies under it be kept in bfloat16, where settings say so.

    A reward model goes on reading in float32, with weights of its own: over a base it shares, it reads rounded ones.
    """
    policy, critic = models.trained.policy, models.trained.critic
    for learner in [policy, *([critic.model] if isinstance(critic, Critic) else [])]:
        choose_recomputing(learner, config.gradient_checkpointing)
    halve_frozen(models.reference.requires_grad_(False), pick_trunk_dtype(config.dtype, policy.device))
    if config.lora_rank:
        halve_frozen(policy, pick_trunk_dtype(config.dtype, policy.device))


def find_models(module: nn.Module) -> list[PreTrainedModel]:
    """Return the transformers models that a module is or holds, trunks left out."""
    if isinstance(module, PreTrainedModel):
        return [module]
    if isinstance(module, Seen):
        return [module.model]
    return [found for child in module.children() for found in find_models(child)]


def load_one_learner(
    config: PPOConfig, policy: PreTrainedModel, reward_tokenizer: PreTrainedTokenizerBase, *, same_tokens: bool
) -> PPOModels:
    """Return a policy whose states the critic reads too: nothing else learns, reference and reward model are frozen."""
    if config.share_base == "on" and not same_tokens:
        raise ContractError(READS_OTHERS)
    add_adapter(policy, config)
    reward_model: nn.Module
    if same_tokens and shares_base(config):
        reward_model = Seen(read_over(policy, config.reward_model), REWARD)
    else:
        reward_model = load_reward_model(config.reward_model, reward_tokenizer, seed=config.seed).eval()
    critic = SharedCritic(policy)
    if config.lora_rank:
        return PPOModels(AdapterActorCritic(policy, critic), Seen(policy, None), reward_model)
    return PPOModels(ActorCritic(policy, critic), load_policy(config.base_model), reward_model)


def load_whole(config: PPOConfig, tokenizer: PreTrainedTokenizerBase, policy: PreTrainedModel) -> PPOModels:
    """Return four models that share nothing, or three of which the reward model's trunk is the critic's too."""
    reward_model = load_reward_model(config.reward_model, tokenizer, seed=config.seed).eval()
    critic: Critic | FrozenCritic
    if config.critic == "frozen":
        critic = FrozenCritic(StateReader(reward_model), seed=config.seed)
    else:
        critic = Critic(load_reward_model(config.reward_model, tokenizer, seed=config.seed))
    return PPOModels(ActorCritic(policy, critic), load_policy(config.base_model), reward_model)


def load_apart(
    config: PPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    policy: PreTrainedModel,
    reward_tokenizer: PreTrainedTokenizerBase,
) -> PPOModels:
    """Return a reward model that reads texts, and a critic over the policy's start with a new head."""
    if config.share_base == "on":
        raise ContractError(READS_OTHERS)
    reward_model = load_reward_model(config.reward_model, reward_tokenizer, seed=config.seed).eval()
    value_model = load_reward_model(config.base_model, tokenizer, seed=config.seed)
    if config.critic == "frozen":
        return stand_on_reference(config, policy, value_model, reward_model)
    if not config.lora_rank:
        return PPOModels(ActorCritic(policy, FreshCritic(value_model)), load_policy(config.base_model), reward_model)
    add_adapter(policy, config)
    put_adapter(value_model, describe_adapter(value_model, config), name=VALUE, seed=config.seed)
    trained = AdapterActorCritic(policy, FreshCritic(value_model, adapter=VALUE))
    return PPOModels(trained, Seen(policy, None), reward_model)


def stand_on_reference(
    config: PPOConfig, policy: PreTrainedModel, value_model: PreTrainedModel, reward_model: PreTrainedModel
) -> PPOModels:
    """Return a critic that is a new head on the reference's states. value_model: gives up its trunk for the reference's."""
    if config.lora_rank:
        add_adapter(policy, config)
    reference = Seen(policy, None) if config.lora_rank else load_policy(config.base_model)
    trunk = policy if config.lora_rank else reference
    setattr(value_model, value_model.base_model_prefix, trunk.base_model)
    reader = StateReader(Seen(value_model, None) if config.lora_rank else value_model.eval())
    kind = AdapterActorCritic if config.lora_rank else ActorCritic
    return PPOModels(kind(policy, FrozenCritic(reader, seed=config.seed, is_fresh=True)), reference, reward_model)


def load_over_one_base(config: PPOConfig, policy: PreTrainedModel) -> PPOModels:
    """Return policy, critic and reward model as adapters over the policy's base, which bare is the reference."""
    add_adapter(policy, config)
    reward_model = read_over(policy, config.reward_model)
    if config.critic == "frozen":
        seen = Seen(reward_model, REWARD)
        return PPOModels(
            AdapterActorCritic(policy, FrozenCritic(StateReader(seen), seed=config.seed)), Seen(policy, None), seen
        )
    critic = share_trunk(reward_model)
    copy_adapter(policy, source=REWARD, target=VALUE)
    trained = AdapterActorCritic(policy, Critic(critic, adapter=VALUE))
    return PPOModels(trained, Seen(policy, None), Seen(reward_model, REWARD))


def load_over_two_bases(config: PPOConfig, tokenizer: PreTrainedTokenizerBase, policy: PreTrainedModel) -> PPOModels:
    """Return the policy as an adapter over the reference, and the critic as one over the reward model."""
    add_adapter(policy, config)
    reward_model = load_reward_model(config.reward_model, tokenizer, seed=config.seed).eval()
    if config.critic == "frozen":
        trained = AdapterActorCritic(policy, FrozenCritic(StateReader(reward_model), seed=config.seed))
        return PPOModels(trained, Seen(policy, None), reward_model)
    put_adapter(reward_model, describe_adapter(reward_model, config), name=VALUE, seed=config.seed)
    trained = AdapterActorCritic(policy, Critic(share_trunk(reward_model), adapter=VALUE))
    return PPOModels(trained, Seen(policy, None), Seen(reward_model, None))
