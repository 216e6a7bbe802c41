from pathlib import Path

import pytest
import torch

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir
from rlhf.learning import ppo
from rlhf.learning.models import load_tokenizer
from rlhf.learning.ppo_trainer import PPOTrainer
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS
from tests.rlhf.learning.test_ppo import SMALL, count_while_learning, finish, gradients, logged, start_learning_rollout
from tests.rlhf.learning.test_shared_base import LORA, train_reward_model

HEAD = ["head.weight", "curve.0.weight", "curve.0.bias", "curve.2.weight", "curve.2.bias"]


@pytest.fixture(scope="module")
def judges(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A reward model that is an adapter over the tiny policy, and one with weights of its own."""
    home = tmp_path_factory.mktemp("judges")
    return {
        "adapted": train_reward_model(tiny_policy, home / "adapted", lora_rank=4, dtype="float32"),
        "whole": train_reward_model(tiny_policy, home / "whole", dtype="float32"),
    }


@pytest.fixture(params=["whole models", "one base", "two bases"])
def cast(request, judges: dict[str, Path]) -> dict:
    """Return the settings of a run with whole models, or with adapters over one base or two."""
    judge = judges["adapted" if request.param == "one base" else "whole"]
    return {"reward_model": str(judge), **({} if request.param == "whole models" else LORA)}


@pytest.fixture
def build(tiny_policy: Path, cast: dict, tmp_path: Path):
    """Return a function that builds the trainer of a PPO run whose critic is a head on a frozen trunk."""

    def build_trainer(run_dir: Path = tmp_path, **settings) -> PPOTrainer:
        config = PPOConfig(base_model=str(tiny_policy), critic="frozen", **{**SMALL, **cast, **settings})
        prepare_run_dir(run_dir, config)
        tokenizer = load_tokenizer(tiny_policy)
        prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
        return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)

    return build_trainer


@torch.no_grad()
def read_states(folder: Path, tiny_policy: Path, row: list[int]) -> torch.Tensor:
    """Return the states of a row's tokens by the reward model as it lies on disk: (T, H)."""
    model = load_reward_model(folder, load_tokenizer(tiny_policy), seed=0).eval()
    states: torch.Tensor = model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0]
    return states


def test_values_are_the_heads_of_what_the_reward_models_trunk_reads(build, cast, tiny_policy: Path):
    trainer = build()
    trainer.create_optimizer()
    trainer.start_rollout()
    critic = trainer.model.critic
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter)

    experience, _ = trainer.source.draw(1, trainer.model)

    scale = trainer.source.scale
    for row, (prompt, done) in enumerate(zip(experience.prompts, experience.completions, strict=True)):
        states = read_states(cast["reward_model"], tiny_policy, prompt + done)[len(prompt) - 1 :]  # (C + 1, H)
        expected = ((states @ critic.head.weight.T).mean(-1) - scale.mean) / scale.std
        expected += (critic.curve[0](states).sigmoid() * critic.curve[0](states)) @ critic.curve[2].weight[0]
        expected += critic.curve[2].bias
        torch.testing.assert_close(experience.values[row, : len(done)], expected[:-1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(experience.states[row, : len(done) + 1], states, atol=1e-5, rtol=1e-4)
        assert not experience.states[row, len(done) + 1 :].any()
        assert not experience.values[row, len(done) :].any()


def test_what_it_expects_at_the_end_is_at_first_the_score(build):
    trainer = build(reward_clip=100.0, missing_eos_penalty=0.0)
    trainer.create_optimizer()

    trainer.start_rollout()

    experience = trainer.experience
    ends = experience.mask.sum(1)
    found = trainer.model.critic(experience.states)[torch.arange(len(ends)), ends]
    torch.testing.assert_close(found, experience.scores, atol=1e-4, rtol=1e-4)
    assert experience.scores.std() > 0.1


@pytest.mark.parametrize("rewarded", ["model=1", "length=1"])
def test_its_trunk_reads_a_rollout_once_and_no_update(rewarded: str, build, tmp_path: Path):
    trainer = build(rewards=rewarded)
    reads = []
    trainer.model.critic.reader.model.register_forward_hook(lambda *_: reads.append(trainer.rollouts_started))

    finish(trainer, tmp_path)

    assert reads == [0, 1, 2]
    assert trainer.state.global_step == 12


def test_the_head_learns_and_the_trunk_does_not(build, tiny_policy: Path, cast, tmp_path: Path):
    trainer = build()
    reader, row = trainer.model.critic.reader, [7, 8, 9, 10]
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    _, [states] = reader.read([row[:1]], [row[1:]]), reader.take([row[:1]], [row[1:]])

    after = finish(trainer, tmp_path)

    of_critic = [name for name, value in trainer.model.critic.named_parameters() if value.requires_grad]
    assert of_critic == HEAD
    assert [name for name in of_critic if torch.equal(after[f"critic.{name}"], before[f"critic.{name}"])] == []
    assert any(not torch.equal(after[name], before[name]) for name in before if name.startswith("policy."))
    assert torch.equal(reader.take([row[:1]], [row[1:]])[0], states)


def test_gradients_depend_neither_on_micro_batches_nor_on_the_order_of_rows(build):
    trainer = build(micro_batch_tokens=4096)
    start_learning_rollout(trainer)
    expected = gradients(trainer, [0, 1, 2, 3, 4])

    trainer.update.config = trainer.config.replace(micro_batch_tokens=64)
    found = gradients(trainer, [3, 0, 4, 2, 1])

    assert found.keys() == expected.keys() >= {f"critic.{name}" for name in HEAD}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_an_update_begins_with_the_values_of_the_rollout(build):
    trainer = build()
    start_learning_rollout(trainer)
    experience, rows = trainer.experience, [0, 2, 5]

    trainer.learn(trainer.model, rows)

    error = (experience.values - experience.returns)[rows][experience.mask[rows]]
    assert trainer.update.metrics.read()["loss/value_avg"] == pytest.approx(
        0.5 * error.square().mean().item(), rel=1e-5
    )


def test_the_first_minibatch_of_a_rollout_has_ratio_one(build, tmp_path: Path):
    finish(build(micro_batch_tokens=64, learning_rate=1e-2), tmp_path)

    assert max(values["val/ratio_first_error"] for values in logged(tmp_path)[1:]) < 1e-5
    assert logged(tmp_path)[1]["val/ratio_max"] > 1.001


def test_it_learns_alone_while_it_warms_up(build, tmp_path: Path):
    trainer = build(critic_warmup_rollouts=3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    after = finish(trainer, tmp_path)

    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert moved == {f"critic.{name}" for name in (*HEAD, "mean", "std")}


def test_after_a_cut_completion_comes_what_it_expects_where_that_is_asked(build):
    trainer = build(truncated_value="critic", lam=1.0, kl_coef=0.0, max_new_tokens=3)
    trainer.create_optimizer()

    trainer.start_rollout()

    experience = trainer.experience
    ends = experience.mask.sum(1)
    after = trainer.model.critic(experience.states)[torch.arange(len(ends)), ends].detach()
    assert not experience.finished.all()
    expected = experience.scores + after * ~experience.finished
    torch.testing.assert_close(experience.returns[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_a_run_taken_up_goes_on_to_the_same_weights(build, tmp_path: Path):
    expected = finish(build(tmp_path / "whole"), tmp_path / "whole")
    checkpoint = newest_checkpoint(tmp_path / "whole")
    target = tmp_path / "resumed" / "checkpoints" / checkpoint.name
    target.parent.mkdir(parents=True)
    checkpoint.rename(target)

    found = finish(build(tmp_path / "resumed"), tmp_path / "resumed")

    assert checkpoint.name == "checkpoint-8"
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_of_a_reward_model_with_other_tokens_it_takes_the_references_states(
    lora_rank: int, tiny_policy: Path, judges: dict[str, Path], tmp_path: Path
):
    other = tmp_path / "other"
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(judges["whole"], tokenizer, seed=0).save_pretrained(other)
    tokenizer.chat_template = tokenizer.chat_template.replace("user", "human") + " "
    tokenizer.save_pretrained(other)
    config = PPOConfig(
        base_model=str(tiny_policy), reward_model=str(other), critic="frozen", lora_rank=lora_rank, **SMALL
    )
    prepare_run_dir(tmp_path, config)
    conversations = [[{"role": "user", "content": text}] for text in QUESTIONS]
    prompts = [encode_prompt(load_tokenizer(tiny_policy), each, 64) for each in conversations]
    trainer = ppo.build_trainer(
        config,
        tmp_path,
        prompts=prompts,
        tokenizer=load_tokenizer(tiny_policy),
        conversations={tuple(ids): each for ids, each in zip(prompts, conversations, strict=True)},
    )

    after = finish(trainer, tmp_path)

    experience = trainer.experience
    row = experience.prompts[0] + experience.completions[0]
    states = read_states(tiny_policy, tiny_policy, row)[len(experience.prompts[0]) - 1 :]
    torch.testing.assert_close(experience.states[0, : len(states)], states, atol=1e-5, rtol=1e-4)
    first, last = logged(tmp_path)[0], logged(tmp_path)[-1]
    assert first["val/explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert last["val/explained_variance"] != 0.0
    assert after["critic.head.weight"].any()


@pytest.mark.parametrize("cast", ["whole models"], indirect=True)  # a random model is no base for small adapters
def test_a_rewarded_token_becomes_common(build, tmp_path: Path):
    counts = count_while_learning(build, tmp_path)

    assert counts[0] < 1.0
    assert counts[-1] > 10 * counts[0]
