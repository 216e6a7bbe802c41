"""What an evaluation says of completions: closed forms, and a policy beside itself and beside another."""

from __future__ import annotations

import pytest
import torch

from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.records import write_rows
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.own_words import compare, describe_own_words
from rlhf.learning.scoring import load_reward_model
from tests.rlhf.learning.conftest import QUESTIONS

SMALL = {"n_prompts": 4, "n_samples": 4, "max_new_tokens": 6, "seed": 1}


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": text}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for text in QUESTIONS
    ]
    write_rows(tmp_path / "test.jsonl", [*rows, *rows])
    return tmp_path / "test.jsonl"


@pytest.fixture(scope="session")
def doubtful_model(tiny_policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("doubtful")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(str(tiny_policy), tokenizer, seed=3, n_heads=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_every_completion_meets_every_one_of_the_other():
    found = compare([[3.0, 1.0], [2.0, 2.0]], [[2.0, 0.0], [2.0, 3.0]])

    assert found["model_win_rate"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert (found["model_win_rate_low"], found["model_win_rate_high"]) == (0.25, 0.75)


def test_a_policy_is_no_better_than_itself(tiny_policy, pairs, doubtful_model):
    config = EvaluateConfig(reward_model=doubtful_model, **SMALL)
    policy = load_policy(tiny_policy)

    found = describe_own_words(config, pairs, load_tokenizer(tiny_policy), policy=policy, reference=policy)

    assert found["objective/kl"] == 0.0
    assert found["objective/scores"] == pytest.approx(0.0, abs=1e-6)
    assert found["model_win_rate"] == pytest.approx(0.5)
    assert found["doubt_win_rate"] == pytest.approx(0.5)
    assert found["rollout/distinct_2"] == found["reference/rollout/distinct_2"]
    assert [row["n"] for row in found["best_of_n"]] == [1, 2, 4]
    scores = [row["score"] for row in found["best_of_n"]]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(0.0, abs=1e-6)
    assert "kl_beyond_turn" not in [sign["name"] for sign in found["signs"]]


def test_a_policy_that_moved_is_told_by_kl_variety_and_signs(tiny_policy, pairs):
    config = EvaluateConfig(**SMALL)
    policy, reference = load_policy(tiny_policy), load_policy(tiny_policy)
    with torch.no_grad():
        policy.model.embed_tokens.weight.mul_(8)

    found = describe_own_words(config, pairs, load_tokenizer(tiny_policy), policy=policy, reference=reference)

    assert found["objective/kl_low"] > 1.0
    assert found["rollout/distinct_2"] < found["reference/rollout/distinct_2"]
    assert found["rollout/finished_frac"] <= 1.0
    assert "model_win_rate" not in found


def test_drawing_can_be_left_out(tiny_policy, pairs):
    config = EvaluateConfig(**{**SMALL, "n_prompts": 0})
    policy = load_policy(tiny_policy)

    assert describe_own_words(config, pairs, load_tokenizer(tiny_policy), policy=policy, reference=policy) == {}
