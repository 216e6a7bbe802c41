from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir
from rlhf.learning import ppo
from rlhf.learning.logps import build_batch
from rlhf.learning.models import load_tokenizer
from rlhf.learning.ppo_trainer import PPOTrainer
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS
from tests.rlhf.learning.test_frozen_critic import cast, judges  # noqa: F401 -- fixtures
from tests.rlhf.learning.test_ppo import SMALL, count_while_learning, finish, gradients, start_learning_rollout

HEAD = {"critic.head.weight", "critic.head.bias"}


@pytest.fixture
def build(tiny_policy: Path, cast: dict, tmp_path: Path):  # noqa: F811 -- the fixture
    """Return a function that builds the trainer of a PPO run whose critic is a head on the policy's own states."""

    def build_trainer(run_dir: Path = tmp_path, **settings) -> PPOTrainer:
        config = PPOConfig(base_model=str(tiny_policy), critic="shared", **{**SMALL, **cast, **settings})
        prepare_run_dir(run_dir, config)
        tokenizer = load_tokenizer(tiny_policy)
        prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
        return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)

    return build_trainer


def test_values_are_a_line_over_the_policys_states(build):
    trainer = build()
    trainer.create_optimizer()
    trainer.start_rollout()
    policy, head = trainer.model.policy, trainer.model.critic.head
    assert not trainer.experience.values.any()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)

    experience, _ = trainer.source.draw(1, trainer.model)

    for row, (prompt, done) in enumerate(zip(experience.prompts, experience.completions, strict=True)):
        with torch.no_grad():
            states = policy.base_model(input_ids=torch.tensor([prompt + done])).last_hidden_state[0]  # (T, H)
            expected = head(states[len(prompt) - 1 : -1]).squeeze(-1)
        torch.testing.assert_close(experience.values[row, : len(done)], expected, atol=1e-4, rtol=1e-4)
        assert not experience.values[row, len(done) :].any()


def test_a_micro_batch_is_one_pass_of_one_trunk(build):
    trainer = build()
    start_learning_rollout(trainer)
    reads: list[int] = []
    trainer.model.policy.base_model.register_forward_hook(lambda *_: reads.append(1))

    trainer.learn(trainer.model, [0, 1, 2, 3])

    assert reads == [1]


@pytest.mark.parametrize(("old_logps", "n_products"), [("trainer", 1), ("sampler", 0)])
def test_the_head_computes_no_logits_that_nobody_reads(old_logps: str, n_products: int, build):
    trainer = build(old_logps=old_logps)
    trainer.create_optimizer()
    policy = trainer.model.policy
    batch = build_batch([[1, 4, 50, 61, 5], [9]], [[70, 5, 2], [8]], pad_id=0)
    products: list[torch.Size] = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.mm.default and made.shape[-1] == policy.config.vocab_size:
                products.append(made.shape)
            return made

    with torch.no_grad(), Count():
        _, values = trainer.model(batch, with_policy=old_logps == "trainer")

    assert products == [torch.Size([4, policy.config.vocab_size])] * n_products
    torch.testing.assert_close(values, trainer.model(batch)[1])


def test_the_policys_states_learn_from_the_values_too(build):
    trainer = build()
    start_learning_rollout(trainer)
    torch.nn.init.ones_(trainer.model.critic.head.weight)
    learned = gradients(trainer, [0, 1, 2])

    trainer.update.config = trainer.config.replace(vf_coef=0.0)
    without = gradients(trainer, [0, 1, 2])

    # The first matrix of a fresh adapter has no gradient yet.
    of_policy = [name for name in learned if name.startswith("policy.") and learned[name].any()]
    assert of_policy
    assert [name for name in of_policy if torch.equal(learned[name], without[name])] == []
    assert {name for name in HEAD if without[name].any()} == set()


def test_the_head_learns_alone_while_it_warms_up(build, tmp_path: Path):
    trainer = build(critic_warmup_rollouts=3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    after = finish(trainer, tmp_path)

    assert {name for name in before if not torch.equal(after[name], before[name])} == HEAD


def test_gradients_depend_neither_on_micro_batches_nor_on_the_order_of_rows(build):
    trainer = build(micro_batch_tokens=4096)
    start_learning_rollout(trainer)
    expected = gradients(trainer, [0, 1, 2, 3, 4])

    trainer.update.config = trainer.config.replace(micro_batch_tokens=64)
    found = gradients(trainer, [3, 0, 4, 2, 1])

    assert found.keys() == expected.keys() >= HEAD
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("old_logps", ["trainer", "sampler"])
def test_an_update_begins_with_the_ratio_and_the_values_of_the_rollout(old_logps: str, build):
    trainer = build(old_logps=old_logps)
    start_learning_rollout(trainer)
    experience, rows = trainer.experience, [0, 2, 5]

    trainer.learn(trainer.model, rows)

    error = (experience.values - experience.returns)[rows][experience.mask[rows]]
    metrics = trainer.update.metrics.read()
    assert metrics["loss/value_avg"] == pytest.approx(0.5 * error.square().mean().item(), rel=1e-5)
    assert metrics["val/ratio_first_error"] < 1e-5


def test_after_a_cut_completion_comes_what_it_expects_where_that_is_asked(build):
    trainer = build(truncated_value="critic", lam=1.0, kl_coef=0.0, max_new_tokens=3)
    trainer.create_optimizer()
    torch.nn.init.ones_(trainer.model.critic.head.bias)

    trainer.start_rollout()

    experience = trainer.experience
    assert not experience.finished.all()
    torch.testing.assert_close(
        experience.returns[:, 0], experience.scores + 1.0 * ~experience.finished, atol=1e-4, rtol=1e-4
    )


def test_a_run_taken_up_goes_on_to_the_same_weights(build, tmp_path: Path):
    expected = finish(build(tmp_path / "whole"), tmp_path / "whole")
    checkpoint = newest_checkpoint(tmp_path / "whole")
    target = tmp_path / "resumed" / "checkpoints" / checkpoint.name
    target.parent.mkdir(parents=True)
    checkpoint.rename(target)

    found = finish(build(tmp_path / "resumed"), tmp_path / "resumed")

    assert checkpoint.name == "checkpoint-8"
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("cast", ["whole models"], indirect=True)  # a random model is no base for small adapters
def test_a_rewarded_token_becomes_common(build, tmp_path: Path):
    counts = count_while_learning(build, tmp_path)

    assert counts[0] < 1.0
    assert counts[-1] > 10 * counts[0]
