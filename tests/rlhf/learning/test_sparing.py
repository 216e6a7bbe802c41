"""What spares memory in PPO, GRPO and RLOO: activations computed twice, a frozen base in bfloat16."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import CHECKPOINTS, FINAL, prepare_run_dir, tail_metrics
from rlhf.learning import grpo, ppo
from rlhf.learning.halving import HalvedLinear
from rlhf.learning.models import load_tokenizer
from rlhf.learning.ppo_trainer import PPOTrainer
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS
from tests.rlhf.learning.test_grpo import build as build_groups
from tests.rlhf.learning.test_grpo import prepare as prepare_groups
from tests.rlhf.learning.test_ppo import SMALL, finish, gradients, logged, start_learning_rollout
from tests.rlhf.learning.test_shared_base import LORA, train_reward_model
from tests.rlhf.learning.tiny_runs import TinyModels, prepare_tiny_run

PLAYS = {
    "whole weights": {},
    "whole weights, shared critic": {"critic": "shared"},
    "one base": LORA,
    "one base, frozen critic": {**LORA, "critic": "frozen"},
    "two bases": {**LORA, "share_base": "off"},
}


@pytest.fixture(scope="session")
def scorer(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that is an adapter over the tiny policy."""
    return train_reward_model(tiny_policy, tmp_path_factory.mktemp("scorer"), lora_rank=4, dtype="float32")


def build(base: Path, scorer: Path, run_dir: Path, **settings) -> PPOTrainer:
    config = PPOConfig(base_model=str(base), reward_model=str(scorer), **{**SMALL, "num_minibatches": 1, **settings})
    prepare_run_dir(run_dir, config)
    tokenizer = load_tokenizer(base)
    prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
    return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)


def count_entries(model) -> list[int]:
    entries: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: entries.append(1))
    return entries


@pytest.mark.parametrize("play", PLAYS)
def test_activations_computed_twice_change_no_gradient_of_ppo(play: str, tiny_policy, scorer, tmp_path):
    found, n_entries = [], []
    for choice in ("off", "on"):
        trainer = build(tiny_policy, scorer, tmp_path, gradient_checkpointing=choice, **PLAYS[play])
        start_learning_rollout(trainer)
        entries = count_entries(trainer.model.policy)
        found.append(gradients(trainer, trainer.minibatches[0]))
        n_entries.append(len(entries))

    assert n_entries[1] > n_entries[0]
    assert found[0].keys() == found[1].keys()
    assert any(gradient.abs().max() > 0 for gradient in found[0].values())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-7, rtol=1e-4, msg=lambda words, name=name: name)


def test_ppo_ends_with_the_weights_of_a_run_that_keeps_its_activations(models: TinyModels, tmp_path: Path):
    ends = []
    for choice in ("off", "on"):
        config = prepare_tiny_run("ppo", tmp_path / choice, models, gradient_checkpointing=choice, rollouts=3)
        ppo.train(config, tmp_path / choice)
        ends.append(AutoModelForCausalLM.from_pretrained(tmp_path / choice / CHECKPOINTS / FINAL).state_dict())

    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("play", ["one base", "one base, frozen critic", "two bases"])
def test_ppo_over_a_base_in_bfloat16_learns_with_adapters_in_float32(
    play: str,
    tiny_policy,
    scorer,
    tmp_path,
):
    trainer = build(tiny_policy, scorer, tmp_path, dtype="bfloat16", **PLAYS[play])
    before = {name: trainer.model.get_parameter(name).clone() for name in trainer.model.trained}
    n_halved = sum(isinstance(module, HalvedLinear) for module in trainer.model.policy.modules())

    finish(trainer, tmp_path)

    assert n_halved == 14
    assert {value.dtype for value in before.values()} == {torch.float32}
    assert any(not torch.equal(trainer.model.get_parameter(name), value) for name, value in before.items())
    rows = logged(tmp_path)
    assert len(rows) == SMALL["rollouts"]
    assert all(math.isfinite(values["loss"]) and math.isfinite(values["loss/value_avg"]) for values in rows)
    assert abs(rows[0]["objective/kl"]) < 1e-6  # the reference is the base as it is kept


def test_a_reference_of_its_own_is_kept_in_bfloat16_and_what_learns_is_not(tiny_policy, scorer, tmp_path):
    trainer = build(tiny_policy, scorer, tmp_path, dtype="bfloat16")

    reference = trainer.source.reference

    assert sum(isinstance(module, HalvedLinear) for module in reference.modules()) == 14
    assert {value.dtype for value in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("method", "lora_rank"), [("grpo", 0), ("rloo", 4)])
def test_groups_end_with_the_weights_of_a_run_that_keeps_its_activations(
    method: str, lora_rank: int, models: TinyModels, tmp_path: Path
):
    ends = []
    for choice in ("off", "on"):
        settings = {"gradient_checkpointing": choice, "rollouts": 3, "lora_rank": lora_rank}
        grpo.train(prepare_tiny_run(method, tmp_path / choice, models, **settings), tmp_path / choice)
        ends.append(AutoModelForCausalLM.from_pretrained(tmp_path / choice / CHECKPOINTS / FINAL).state_dict())

    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_groups_over_a_base_in_bfloat16_learn_finite_losses(
    method: str,
    tiny_policy,
    scorer,
    tmp_path,
):
    settings = {"method": method, "lora_rank": 4, "dtype": "bfloat16", "finished_drop": 0.0}
    config = prepare_groups(tmp_path, tiny_policy, scorer, **settings)
    trainer = build_groups(tmp_path, config)

    grpo.train(config, tmp_path)

    halved = [module for module in trainer.model.modules() if isinstance(module, HalvedLinear)]
    losses = [row["values"]["loss"] for row in tail_metrics(tmp_path, 0)[0] if "loss" in row["values"]]
    published = AutoModelForCausalLM.from_pretrained(tmp_path / CHECKPOINTS / FINAL)
    assert len(halved) == 14
    assert len(losses) == 4
    assert all(map(math.isfinite, losses))
    assert {value.dtype for value in published.parameters()} == {torch.float32}


def test_groups_are_drawn_and_read_in_the_precision_that_is_named(tiny_policy, scorer, tmp_path):
    trainer = build_groups(tmp_path, prepare_groups(tmp_path, tiny_policy, scorer, dtype="bfloat16"))
    seen: list[torch.dtype] = []
    trainer.model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: seen.append(output.dtype))

    drawn = trainer.draw([trainer.prompts[0]] * 4)
    n_draws = len(seen)
    ids = torch.tensor([[*trainer.prompts[0], *drawn[0].ids]])
    logps, _ = trainer.read_tokens(trainer.model, ids, torch.ones_like(ids), len(drawn[0].ids), with_entropies=False)

    assert len(seen) == n_draws + 1
    assert set(seen) == {torch.bfloat16}
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps[0].detach(), torch.tensor(drawn[0].logps), atol=0.05, rtol=0.05)


def test_groups_are_drawn_by_the_backend_that_is_named(tiny_policy, scorer, tmp_path):
    config = prepare_groups(tmp_path, tiny_policy, scorer, generation_backend="continuous", rollouts=2)

    metrics = grpo.train(config, tmp_path)

    assert metrics["completions/mean_length"] > 0
    assert build_groups(tmp_path, config).backend.__name__ == "draw_continuously"
