"""A reward model of words learns from few pairs, and does whatever a reward model is asked to do."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning import evaluation, ppo
from rlhf.learning.models import load_tokenizer
from rlhf.learning.preferences import encode_pairs
from rlhf.learning.reward_model import train
from rlhf.learning.scoring import load_reward_model, score_heads
from tests.rlhf.learning.conftest import polite_pairs, write_pairs
from tests.rlhf.learning.tiny_runs import QUESTIONS

SMALL = {"rollouts": 2, "rollout_batch_size": 8, "num_minibatches": 2, "max_new_tokens": 8, "max_prompt_tokens": 64}


def learn(run_dir: Path, base: Path, *, n_train: int = 64, **settings) -> tuple[dict, Path]:
    """Return the result of a run, and the folder of what it published."""
    config = RewardConfig(base_model=str(base), head="tokens", **settings)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=n_train, n_test=20)
    return train(config, run_dir), run_dir / "checkpoints" / "final"


def test_twenty_pairs_teach_a_rule_of_words(tiny_policy: Path, tmp_path: Path):
    metrics, final = learn(tmp_path, tiny_policy, n_train=20)

    verify_sealed(final)
    assert metrics["eval_accuracy"] == 1.0
    assert metrics["eval_log_loss"] < math.log(2)
    assert (metrics["n_train"], metrics["n_test"]) == (20, 20)


def test_what_it_learned_from_has_a_mean_score_of_zero_by_every_head(tiny_policy: Path, tmp_path: Path):
    _, final = learn(tmp_path, tiny_policy, n_heads=3)
    tokenizer = load_tokenizer(final)
    pairs = encode_pairs(polite_pairs(64, seed=1), tokenizer, max_length=256).pairs

    rows = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    by_head = score_heads(load_reward_model(final, tokenizer, seed=0), rows)

    torch.testing.assert_close(by_head.mean(0), torch.zeros(3), atol=1e-4, rtol=0)


def test_heads_that_learned_from_other_draws_disagree_about_how_much(tiny_policy: Path, tmp_path: Path):
    metrics, final = learn(tmp_path, tiny_policy, n_heads=3)

    words = load_reward_model(final, load_tokenizer(final), seed=0).words
    assert metrics["eval_spread"] > 0
    assert not torch.equal(words[0], words[1])


def test_the_mean_of_several_heads_is_what_one_head_learns_from_all_pairs(tiny_policy: Path, tmp_path: Path):
    one, several = (
        load_reward_model(final, load_tokenizer(final), seed=0)
        for n_heads in (1, 4)
        for _, final in [learn(tmp_path / str(n_heads), tiny_policy, n_heads=n_heads)]
    )

    torch.testing.assert_close(several.words.mean(0), one.words[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(several.likelihood.mean(0), one.likelihood[0], atol=1e-6, rtol=0)
    assert several.words.std(0).max() > 0.01


def test_the_same_run_gives_the_same_scorer(tiny_policy: Path, tmp_path: Path):
    scorers = [
        load_reward_model(final, load_tokenizer(final), seed=0)
        for name in ("one", "other")
        for _, final in [learn(tmp_path / name, tiny_policy, n_heads=2, seed=7)]
    ]

    assert torch.equal(scorers[0].words, scorers[1].words)
    assert torch.equal(scorers[0].likelihood, scorers[1].likelihood)


def test_the_base_is_left_as_it_was(tiny_policy: Path, tmp_path: Path):
    _, final = learn(tmp_path, tiny_policy)

    before = load_reward_model(tiny_policy, load_tokenizer(final), seed=0).model.state_dict()
    after = load_reward_model(final, load_tokenizer(final), seed=0).policy.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_evaluation_finds_the_accuracy_that_its_run_found(tiny_policy: Path, tmp_path: Path):
    metrics, final = learn(tmp_path / "reward", tiny_policy)
    config = EvaluateConfig(base_model=str(final))
    prepare_run_dir(tmp_path / "evaluate", config)
    write_pairs(tmp_path / "evaluate", n_train=1, n_test=20)

    found = evaluation.train(config, tmp_path / "evaluate")

    assert found["eval_accuracy"] == metrics["eval_accuracy"]
    assert found["eval_log_loss"] == pytest.approx(metrics["eval_log_loss"], rel=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"critic": "frozen"}, {"critic": "shared"}, {"lora_rank": 4}],
    ids=["whole", "frozen", "shared", "adapters"],
)
def test_ppo_follows_it_with_a_critic_that_starts_anew(settings: dict, tiny_policy: Path, tmp_path: Path):
    _, final = learn(tmp_path / "reward", tiny_policy)
    config = PPOConfig(base_model=str(tiny_policy), reward_model=str(final), **SMALL, **settings)
    prepare_run_dir(tmp_path / "ppo", config)
    rows = [
        {"prompt_id": str(n), "prompt": [{"role": "user", "content": text}]} for n, text in enumerate(QUESTIONS * 2)
    ]
    write_rows(tmp_path / "ppo" / "data" / "prompts.jsonl", rows)

    metrics = ppo.train(config, tmp_path / "ppo")

    logged = [row["values"] for row in tail_metrics(tmp_path / "ppo", 0)[0]]
    assert math.isfinite(metrics["objective/scores"])
    assert any("objective/scores" in values for values in logged)
    verify_sealed(tmp_path / "ppo" / "checkpoints" / "final")


@pytest.mark.parametrize("name", ["lora_rank", "margin_scale", "tie_threshold"])
def test_what_acts_on_a_trunk_alone_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"{name} acts on head=last only: leave it at 0 with head=tokens"):
        RewardConfig(head="tokens", **{name: 1})


def test_a_trunk_cannot_be_trained_from_a_list_of_words(tiny_policy: Path, tmp_path: Path):
    _, final = learn(tmp_path / "words", tiny_policy)
    config = RewardConfig(base_model=str(final))
    prepare_run_dir(tmp_path / "trunk", config)
    write_pairs(tmp_path / "trunk", n_train=8, n_test=4)

    with pytest.raises(ContractError, match="has no trunk that learns: name a policy, or ask for head=tokens"):
        train(config, tmp_path / "trunk")
