from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ConfigError
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import prepare_run_dir
from rlhf.learning import grpo, ppo
from rlhf.learning.models import load_tokenizer
from rlhf.learning.scoring import Ensemble, load_reward_model, score_heads
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.test_grpo import ROWS

BY_HEAD = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])


def test_several_heads_count_by_their_mean_or_by_the_least_of_them():
    assert Ensemble().join(BY_HEAD).tolist() == [2.0, 2.0]
    assert Ensemble("min").join(BY_HEAD).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("coef", [0.0, 0.5, 2.0])
def test_a_cautious_ensemble_takes_so_many_standard_deviations_from_the_mean(coef: float):
    found = Ensemble("cautious", coef).join(BY_HEAD)

    torch.testing.assert_close(found, torch.tensor([2.0 - coef * (2 / 3) ** 0.5, 2.0]))


def test_one_head_has_nobody_to_doubt_it():
    assert Ensemble("cautious", 5.0).join(BY_HEAD[:, :1]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("config_class", [PPOConfig, GRPOConfig])
def test_both_kinds_of_run_that_follow_a_reward_model_know_the_ensemble(config_class):
    assert config_class(ensemble="cautious", ensemble_coef=0.1).ensemble_coef == 0.1
    with pytest.raises(ConfigError, match="ensemble_coef must be >= 0"):
        config_class(ensemble_coef=-1.0)


@pytest.fixture(scope="module")
def three_heads(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model with three heads over the tiny policy's tokens."""
    folder = tmp_path_factory.mktemp("three-heads")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(tiny_policy, tokenizer, seed=0, n_heads=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("critic", ["trained", "frozen"])
def test_ppo_is_rewarded_by_the_ensemble_it_names(critic: str, tiny_policy: Path, three_heads: Path, tmp_path: Path):
    settings = {"ensemble": "cautious", "ensemble_coef": 2.0, "critic": critic, "max_new_tokens": 8}
    config = PPOConfig(base_model=str(tiny_policy), reward_model=str(three_heads), **settings)
    prepare_run_dir(tmp_path, config)
    tokenizer = load_tokenizer(tiny_policy)
    prompts = [encode_prompt(tokenizer, row["prompt"], 64) for row in ROWS]

    trainer = ppo.build_trainer(config, tmp_path, prompts=prompts, tokenizer=tokenizer)

    check_rewards(trainer.source.rewards["model"], prompts, tiny_policy, three_heads)


def test_groups_are_rewarded_by_the_ensemble_they_name(tiny_policy: Path, three_heads: Path, tmp_path: Path):
    settings = {"ensemble": "cautious", "ensemble_coef": 2.0, "missing_eos_penalty": 0.0}
    config = GRPOConfig(base_model=str(tiny_policy), reward_model=str(three_heads), **settings)
    prepare_run_dir(tmp_path, config)

    trainer = grpo.build_trainer(config, tmp_path, rows=ROWS, tokenizer=load_tokenizer(tiny_policy))

    def rewards(prompts: list[list[int]], completions: list[list[int]]) -> torch.Tensor:
        numbers = [str(trainer.prompts.index(prompt)) for prompt in prompts]
        return torch.tensor(trainer.reward_funcs[0](prompts=numbers, completion_ids=completions))

    check_rewards(rewards, trainer.prompts, tiny_policy, three_heads)


def check_rewards(rewards, prompts: list[list[int]], base: Path, reward_model: Path) -> None:
    completions = [[5, 6, 7], [8, 9]]
    model = load_reward_model(reward_model, load_tokenizer(base), seed=0)
    heads = score_heads(model, [prompt + ids for prompt, ids in zip(prompts, completions, strict=False)])

    found = rewards(prompts[:2], completions)

    assert heads.std() > 0
    torch.testing.assert_close(found, heads.mean(1) - 2.0 * heads.std(1, correction=0), atol=1e-5, rtol=1e-5)
