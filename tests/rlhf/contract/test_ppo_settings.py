"""What PPO learns by where its settings leave it open: slower for whole weights than for adapters."""

from __future__ import annotations

import pytest

from rlhf.contract.kinds.ppo import PPOConfig


@pytest.mark.parametrize(("lora_rank", "expected"), [(0, (1e-6, 5e-6, 4)), (16, (1e-5, 5e-5, 1))])
def test_open_rates_follow_what_is_trained(lora_rank: int, expected: tuple[float, float, int]):
    config = PPOConfig(lora_rank=lora_rank)

    assert (config.policy_rate, config.critic_rate, config.n_warmup_rollouts) == expected


def test_rates_and_a_warm_up_of_ones_own_stay():
    config = PPOConfig(learning_rate=3e-4, value_learning_rate=1e-3, critic_warmup_rollouts=0)

    assert (config.policy_rate, config.critic_rate, config.n_warmup_rollouts) == (3e-4, 1e-3, 0)
