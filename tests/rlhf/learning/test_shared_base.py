from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir
from rlhf.learning import ppo, reward_model
from rlhf.learning.adapters import adapter_layers
from rlhf.learning.checkpointing import save_final, train_sealed
from rlhf.learning.logps import build_batch, completion_logps
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.ppo_models import load_models
from rlhf.learning.ppo_trainer import PPOTrainer, ReportRollouts
from rlhf.learning.scoring import load_reward_model, score_rows
from rlhf.learning.shared_base import AdapterActorCritic
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS, write_pairs
from tests.rlhf.learning.test_ppo import SMALL, logged, start_learning_rollout

ROWS = [[7, 8, 9, 10, 11], [12, 13]]
LORA = {"lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 1e-2}


def train_reward_model(base: Path, run_dir: Path, **settings) -> Path:
    config = RewardConfig(base_model=str(base), batch_size=8, max_steps=6, learning_rate=1e-2, **settings)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=32, n_test=10)
    reward_model.train(config, run_dir)
    return run_dir / "checkpoints" / "final"


@pytest.fixture(scope="session")
def adapted(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that is an adapter over the tiny policy."""
    return train_reward_model(tiny_policy, tmp_path_factory.mktemp("adapted"), lora_rank=4, dtype="float32")


@pytest.fixture(scope="session")
def whole(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with weights of its own."""
    return train_reward_model(tiny_policy, tmp_path_factory.mktemp("whole"), dtype="float32")


@pytest.fixture(params=["one base", "two bases"])
def scorer(request, adapted: Path, whole: Path) -> Path:
    return adapted if request.param == "one base" else whole


@pytest.fixture
def build(tiny_policy: Path, scorer: Path, tmp_path: Path):
    """Return a function that builds the trainer of a PPO run with adapters."""

    def build_trainer(run_dir: Path = tmp_path, **settings) -> PPOTrainer:
        values = {**SMALL, "num_minibatches": 1, **LORA, **settings}
        config = PPOConfig(base_model=str(tiny_policy), reward_model=str(scorer), **values)
        prepare_run_dir(run_dir, config)
        tokenizer = load_tokenizer(tiny_policy)
        prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
        return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)

    return build_trainer


def cast(base: Path, scorer: Path, **settings):
    config = PPOConfig(base_model=str(base), reward_model=str(scorer), **{**LORA, **settings})
    return load_models(config, load_tokenizer(base), longest_row=64)


def frozen_weights(models: AdapterActorCritic) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in models.named_parameters() if name not in models.trained}


@torch.no_grad()
def test_they_begin_as_the_models_they_stand_for(tiny_policy: Path, scorer: Path):
    models, reference, scores = cast(tiny_policy, scorer)
    whole_models, whole_reference, whole_scores = cast(tiny_policy, scorer, lora_rank=0)
    batch = build_batch([row[:2] for row in ROWS], [[*row[2:], 14] for row in ROWS], pad_id=0)

    logits, values = models(batch)
    expected_logits, expected_values = whole_models(batch)
    assert torch.equal(logits, expected_logits)
    assert torch.equal(completion_logps(reference, batch), completion_logps(whole_reference, batch))
    torch.testing.assert_close(values, expected_values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(score_rows(scores, ROWS), score_rows(whole_scores, ROWS), atol=1e-5, rtol=1e-5)
    assert values.std() > 0.01


def test_one_base_is_in_memory_once(tiny_policy: Path, adapted: Path, whole: Path):
    n_base = load_policy(tiny_policy).num_parameters()

    def count(scorer: Path, **settings) -> float:
        models = cast(tiny_policy, scorer, **settings)
        found = {id(value): value for each in models for value in each.parameters()}
        found |= {
            id(value): value for each in models[1:] if hasattr(each, "model") for value in each.model.parameters()
        }
        return sum(value.numel() for value in found.values()) / n_base

    assert count(adapted) == pytest.approx(1.3, abs=0.2)
    assert count(whole) == pytest.approx(2.3, abs=0.2)
    assert count(adapted, share_base="off") == pytest.approx(2.3, abs=0.2)
    assert count(adapted, lora_rank=0) == pytest.approx(4.0, abs=0.1)


def test_adapters_and_head_learn_and_nothing_else_does(build, tiny_policy: Path, tmp_path: Path):
    trainer = build()
    frozen = frozen_weights(trainer.model)
    before = {name: value.clone() for name, value in trainer.model.named_parameters() if name in trainer.model.trained}

    train_sealed(trainer, ReportRollouts(tmp_path, trainer))

    after = dict(trainer.model.named_parameters())
    assert [name for name, value in frozen.items() if not torch.equal(after[name], value)] == []
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert moved == set(before)
    assert {part for name in moved for part in ("policy", "value", "score") if f".{part}." in name} == {
        "policy",
        "value",
        "score",
    }
    base = {name.replace(".base_layer", ""): value for name, value in trainer.model.policy.state_dict().items()}
    on_disk = load_policy(tiny_policy).state_dict()
    assert [name for name, value in on_disk.items() if not torch.equal(base[name], value)] == []


def test_the_first_minibatch_of_a_rollout_has_ratio_one(build, tmp_path: Path):
    trainer = build(micro_batch_tokens=64)

    train_sealed(trainer, ReportRollouts(tmp_path, trainer))

    assert max(values["val/ratio_first_error"] for values in logged(tmp_path)[1:]) < 1e-5
    assert logged(tmp_path)[1]["val/ratio_max"] > 1.001


@pytest.mark.parametrize("phase", ["rollout", "update"])
def test_a_switch_that_is_not_taken_back_stops_the_run(phase: str, build, tmp_path: Path, monkeypatch):
    trainer = build()
    owner, name = (trainer.source, "score") if phase == "rollout" else (trainer, "learn")
    asked = getattr(owner, name)

    def forget(*args, **kwargs):
        answer = asked(*args, **kwargs)
        for layer in adapter_layers(trainer.model):  # as PEFT's own switch does it
            layer.set_adapter("policy" if phase == "rollout" else "value")
        return answer

    monkeypatch.setattr(owner, name, forget)

    with pytest.raises(RuntimeError, match="a switch of adapters changed what is trained"):
        train_sealed(trainer, ReportRollouts(tmp_path, trainer))


def test_an_adapter_left_off_stops_the_run(build):
    trainer = build()
    adapter_layers(trainer.model.policy)[3]._disable_adapters = True

    with pytest.raises(RuntimeError, match="was not taken back"):
        trainer.model.require_same_training()


def test_gradients_of_policy_and_critic_meet_in_no_weight(build):
    trainer = build()
    start_learning_rollout(trainer)

    trainer.learn(trainer.model, [0, 1, 2])

    of_policy, of_critic = trainer.model.trained_parameters()
    assert not {id(value) for value in of_policy} & {id(value) for value in of_critic}
    assert all(value.grad is not None for value in (*of_policy, *of_critic))
    assert all(
        value.grad is None for name, value in trainer.model.named_parameters() if name not in trainer.model.trained
    )


def test_a_run_taken_up_goes_on_to_the_same_weights(build, tmp_path: Path):
    def finish(run_dir: Path) -> dict[str, torch.Tensor]:
        trainer = build(run_dir)
        train_sealed(trainer, ReportRollouts(run_dir, trainer))
        return {name: value.clone() for name, value in trainer.model.state_dict().items()}

    expected = finish(tmp_path / "whole")
    checkpoint = newest_checkpoint(tmp_path / "whole")
    target = tmp_path / "resumed" / "checkpoints" / checkpoint.name
    target.parent.mkdir(parents=True)
    checkpoint.rename(target)
    found = finish(tmp_path / "resumed")

    assert checkpoint.name == "checkpoint-4"
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_what_is_published_is_a_whole_policy(build, tiny_policy: Path, tmp_path: Path):
    trainer = build()
    train_sealed(trainer, ReportRollouts(tmp_path, trainer))
    ids = torch.tensor(ROWS[:1])
    with torch.no_grad():
        adapted_logits = trainer.model.policy(ids).logits

    final = save_final(tmp_path, trainer.model.policy, load_tokenizer(tiny_policy))

    published = load_policy(final).eval()
    with torch.no_grad():
        torch.testing.assert_close(published(ids).logits, adapted_logits, atol=1e-5, rtol=0)
        assert (adapted_logits - load_policy(tiny_policy).eval()(ids).logits).abs().max() > 1e-3
    assert (final / "adapter" / "adapter_model.safetensors").is_file()


def test_a_base_that_must_be_shared_and_is_another_is_refused(
    tiny_policy: Path, whole: Path, adapted: Path, tmp_path: Path
):
    with pytest.raises(ContractError, match="share_base=on needs a reward model that is an adapter over base_model"):
        cast(tiny_policy, whole, share_base="on")

    other = load_policy(tiny_policy)
    other.lm_head.weight.data += 1
    other.save_pretrained(tmp_path)
    load_tokenizer(tiny_policy).save_pretrained(tmp_path)
    with pytest.raises(ContractError, match="share_base=on needs"):
        cast(tmp_path, adapted, share_base="on")


def test_a_base_is_not_shared_without_adapters():
    with pytest.raises(ConfigError, match="give them a lora_rank"):
        PPOConfig(share_base="on")


def test_an_ensemble_of_heads_reads_through_one_adapter(tiny_policy: Path, tmp_path: Path):
    folder = train_reward_model(tiny_policy, tmp_path, lora_rank=4, dtype="float32", n_heads=3)

    models, _, scores = cast(tiny_policy, folder)

    expected = score_rows(load_reward_model(folder, load_tokenizer(folder), seed=0), ROWS)
    torch.testing.assert_close(score_rows(scores, ROWS), expected, atol=1e-5, rtol=1e-5)
    assert models.critic.model.score.weight.shape[0] == 3
