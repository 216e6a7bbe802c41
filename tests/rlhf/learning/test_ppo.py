import os
import signal
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, TrainerCallback

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import newest_checkpoint, prepare_run_dir, read_progress, tail_metrics, verify_sealed
from rlhf.learning import ppo
from rlhf.learning.actor_critic import ActorCritic, Critic
from rlhf.learning.advantages import gae, steer_kl_coef, whiten
from rlhf.learning.checkpointing import train_sealed
from rlhf.learning.conversations import encode_row
from rlhf.learning.experience import ScoreScale, build_experience, normalise_scores
from rlhf.learning.generation import Rollout
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.ppo_trainer import PPOTrainer, ReportRollouts
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.conftest import QUESTIONS

SMALL = {
    "rollouts": 3,
    "rollout_batch_size": 8,
    "ppo_epochs": 2,
    "num_minibatches": 2,
    "max_new_tokens": 8,
    "target_kl": 100.0,
    "save_rollouts": 1,
    "learning_rate": 1e-3,
    "value_learning_rate": 3e-4,
    "critic_warmup_rollouts": 1,
}
# The learning test rewards the first twenty of 400 tokens: one in twenty of what a random policy emits.
WANTED = range(20)


def count_wanted(prompts: list[list[int]], completions: list[list[int]]) -> torch.Tensor:
    return torch.tensor([float(sum(token in WANTED for token in ids)) for ids in completions])


@pytest.fixture(scope="session")
def tiny_reward_model(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model over the tiny policy's tokens."""
    folder = tmp_path_factory.mktemp("tiny-reward-model")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(str(tiny_policy), tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def build(tiny_policy: Path, tiny_reward_model: Path, tmp_path: Path):
    """Return a function that builds the trainer of a PPO run."""

    def build_trainer(run_dir: Path = tmp_path, **settings) -> PPOTrainer:
        config = PPOConfig(base_model=str(tiny_policy), reward_model=str(tiny_reward_model), **{**SMALL, **settings})
        prepare_run_dir(run_dir, config)
        tokenizer = load_tokenizer(tiny_policy)
        prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
        return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)

    return build_trainer


def finish(trainer: PPOTrainer, run_dir: Path) -> dict[str, torch.Tensor]:
    train_sealed(trainer, ReportRollouts(run_dir, trainer))
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def logged(run_dir: Path) -> list[dict[str, float]]:
    return [line["values"] for line in tail_metrics(run_dir, 0)[0] if "objective/kl" in line["values"]]


def gradients(trainer: PPOTrainer, minibatch: list[int]) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad()
    trainer.learn(trainer.model, minibatch)
    return {name: value.grad.clone() for name, value in trainer.model.named_parameters() if value.grad is not None}


def count_while_learning(build, run_dir: Path) -> list[float]:
    """Return the rewarded tokens of a completion, the mean of each rollout, as the policy learns what is rewarded."""
    trainer = build(
        rollouts=25,
        rollout_batch_size=64,
        num_minibatches=4,
        learning_rate=1e-2,
        value_learning_rate=5e-3,
        kl_coef=0.0,
        missing_eos_penalty=0.0,
        target_kl=1.0,
        save_rollouts=100,
    )
    trainer.source.rewards = {"wanted": count_wanted}
    finish(trainer, run_dir)
    return [values["objective/scores"] for values in logged(run_dir)]


def start_learning_rollout(trainer: PPOTrainer) -> None:
    """Sample the rollout in which the policy learns for the first time."""
    trainer.create_optimizer()
    trainer.start_rollout()
    trainer.start_rollout()


@pytest.mark.parametrize("rewards", ["off", "on"])
@pytest.mark.parametrize("advantages", ["off", "on"])
def test_rewards_and_advantages_are_whitened_where_that_is_asked_for(build, rewards: str, advantages: str):
    trainer = build(whiten_rewards=rewards, whiten_advantages=advantages)
    start_learning_rollout(trainer)

    found, config = trainer.experience, trainer.config

    learned = whiten(found.rewards, found.mask, keeps_mean=True) if rewards == "on" else found.rewards
    expected, returns = gae(learned, found.values, found.mask, gamma=config.gamma, lam=config.lam)
    torch.testing.assert_close(found.returns, returns)
    torch.testing.assert_close(found.advantages, whiten(expected, found.mask) if advantages == "on" else expected)
    assert not torch.allclose(whiten(found.rewards, found.mask, keeps_mean=True), found.rewards)


def test_optimizer_steps_are_rollouts_times_passes_times_minibatches(build, tmp_path: Path):
    trainer = build()

    finish(trainer, tmp_path)

    assert trainer.state.global_step == 3 * 2 * 2
    assert trainer.rollouts_started == 3
    assert len(logged(tmp_path)) == 3
    assert read_progress(tmp_path)["step"] == 12


def test_the_first_minibatch_of_a_rollout_has_ratio_one(build, tmp_path: Path):
    finish(build(micro_batch_tokens=64, learning_rate=1e-2), tmp_path)

    errors = [values["val/ratio_first_error"] for values in logged(tmp_path)[1:]]
    assert len(errors) == 2
    assert max(errors) < 1e-5
    assert logged(tmp_path)[1]["val/ratio_max"] > 1.01


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_padding_moves_no_log_probability(shape: str, tiny_reward_model: Path, tiny_policy: Path):
    torch.manual_seed(0)
    small = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    policy = (
        LlamaForCausalLM(LlamaConfig(**small, intermediate_size=32))
        if shape == "llama"
        else GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=16, n_layer=2, n_head=2))
    ).eval()
    critic = Critic(load_reward_model(str(tiny_reward_model), load_tokenizer(tiny_policy), seed=0))
    prompts = [[5] * 9, [6, 7], [8, 9, 10]]
    rollouts = [Rollout([20, 21], True), Rollout([22] * 7, False), Rollout([23], True)]

    def experience(rows: slice, budget: int):
        return build_experience(
            prompts[rows],
            rollouts[rows],
            torch.zeros(len(prompts[rows])),
            models=ActorCritic(policy, critic),
            reference=policy,
            scale=ScoreScale(0.0, 1.0),
            kl_coef=0.05,
            config=PPOConfig(micro_batch_tokens=budget),
            pad_id=0,
        )

    together = experience(slice(None), 4096)
    for row in range(3):
        alone = experience(slice(row, row + 1), 64)
        length = len(rollouts[row].ids)
        for name in ("logps", "values", "entropies"):
            torch.testing.assert_close(
                getattr(together, name)[row, :length], getattr(alone, name)[0], atol=1e-5, rtol=1e-5
            )


def test_gradients_depend_neither_on_micro_batches_nor_on_the_order_of_rows(build):
    trainer = build(micro_batch_tokens=4096)
    start_learning_rollout(trainer)
    expected = gradients(trainer, [0, 1, 2, 3, 4])

    trainer.update.config = trainer.config.replace(micro_batch_tokens=64)
    found = gradients(trainer, [3, 0, 4, 2, 1])

    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_halves_of_a_minibatch_add_up_to_it(build):
    trainer = build()
    start_learning_rollout(trainer)
    counts = trainer.experience.mask.sum(1)
    whole = gradients(trainer, [0, 1, 2, 3])

    left, right = gradients(trainer, [0, 1]), gradients(trainer, [2, 3])

    share = (counts[:2].sum() / counts[:4].sum()).item()
    for name, gradient in whole.items():
        torch.testing.assert_close(
            share * left[name] + (1 - share) * right[name], gradient, atol=1e-6, rtol=1e-4, msg=name
        )


def test_only_rows_without_end_token_pay_for_it():
    config = PPOConfig(missing_eos_penalty=0.75, reward_clip=2.0)
    finished = torch.tensor([True, False, True])

    scores = normalise_scores(torch.tensor([3.0, 3.0, 100.0]), finished, ScoreScale(1.0, 2.0), config)

    assert scores.tolist() == [1.0, 0.25, 2.0]


def test_the_score_of_a_completion_reaches_its_last_token_alone(build):
    trainer = build(kl_coef=0.0)
    trainer.create_optimizer()

    trainer.start_rollout()

    experience = trainer.experience
    last = experience.mask.sum(1) - 1
    expected = torch.zeros_like(experience.rewards)
    expected[torch.arange(8), last] = experience.scores
    assert torch.equal(experience.rewards, expected)


def test_sampled_kl_agrees_with_the_kl_of_whole_distributions(tiny_reward_model: Path, tiny_policy: Path):
    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=30, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    policy, reference = LlamaForCausalLM(shape).eval(), LlamaForCausalLM(shape).eval()
    for model in (policy, reference):
        model.lm_head.weight.data *= 20
    with torch.no_grad():
        theirs = reference(torch.tensor([[1]])).logits[0, -1].log_softmax(-1)
        ours = policy(torch.tensor([[1]])).logits[0, -1].log_softmax(-1)
    exact = (ours.exp() * (ours - theirs)).sum().item()
    tokens = torch.multinomial(ours.exp(), 4000, replacement=True, generator=torch.Generator().manual_seed(0)).tolist()
    critic = Critic(load_reward_model(str(tiny_reward_model), load_tokenizer(tiny_policy), seed=0))

    experience = build_experience(
        [[1]] * 4000,
        [Rollout([token], True) for token in tokens],
        torch.zeros(4000),
        models=ActorCritic(policy, critic),
        reference=reference,
        scale=ScoreScale(0.0, 1.0),
        kl_coef=0.05,
        config=PPOConfig(micro_batch_tokens=8000),
        pad_id=0,
    )

    k1 = (experience.logps - experience.reference_logps)[:, 0]
    k3 = torch.exp(-k1) - 1 + k1
    assert exact > 0.05
    assert k1.mean().item() == pytest.approx(exact, abs=4 * k1.std().item() / 4000**0.5)
    assert k3.mean().item() == pytest.approx(exact, abs=4 * k3.std().item() / 4000**0.5)


def test_policy_and_critic_learn_and_the_frozen_models_do_not(build, tiny_policy: Path, tmp_path: Path):
    trainer = build()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    after = finish(trainer, tmp_path)

    start = load_policy(tiny_policy).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in trainer.source.reference.state_dict().items())
    for part in ("policy.model.layers.0", "critic.model.model.layers.0", "critic.model.score"):
        assert any(not torch.equal(after[name], before[name]) for name in before if name.startswith(part)), part


def test_the_critic_learns_alone_while_it_warms_up(build, tmp_path: Path):
    trainer = build(critic_warmup_rollouts=3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    after = finish(trainer, tmp_path)

    policy = [name for name in before if name.startswith("policy.")]
    assert all(torch.equal(after[name], before[name]) for name in policy)
    assert not torch.equal(after["critic.model.score.weight"], before["critic.model.score.weight"])


def test_clipping_reaches_the_optimizer(build, tmp_path: Path):
    norms = []

    class WatchGradients(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            for part in (model.policy, model.critic):
                squares = [value.grad.square().sum() for value in part.parameters() if value.grad is not None]
                norms.append(torch.stack(squares).sum().sqrt().item() if squares else 0.0)

    trainer = build(max_grad_norm=1e-3)
    trainer.add_callback(WatchGradients())

    finish(trainer, tmp_path)

    # Four steps of the critic alone, then eight of both.
    assert norms == pytest.approx([0.0, 1e-3] * 4 + [1e-3, 1e-3] * 8, rel=1e-3)


def test_too_large_a_move_ends_the_passes_over_a_rollout(build, tmp_path: Path):
    trainer = build(target_kl=1e-9, critic_warmup_rollouts=1)

    finish(trainer, tmp_path)

    # The warm-up rollout takes its four steps; the others stop once they have moved: after the second step at the latest.
    assert trainer.early_stops == 2
    assert trainer.state.global_step < 12
    assert trainer.rollouts_started == 3


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_run_handed_back_goes_on_to_the_same_weights(stop_after: int, build, tmp_path: Path):
    class AskToStop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    try:
        expected = finish(build(tmp_path / "whole", kl_goal=0.5), tmp_path / "whole")
        stopped = build(tmp_path / "stopped", kl_goal=0.5)
        stopped.add_callback(AskToStop())
        with pytest.raises(HandedBack):
            finish(stopped, tmp_path / "stopped")
        install_stop_signal()
        found = finish(build(tmp_path / "stopped", kl_goal=0.5), tmp_path / "stopped")
    finally:
        install_stop_signal()
        signal.signal(signal.SIGTERM, before)

    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_checkpoints_lie_between_rollouts(build, tmp_path: Path):
    finish(build(save_rollouts=2), tmp_path)

    assert newest_checkpoint(tmp_path).name == "checkpoint-8"


def test_every_prompt_comes_once_an_epoch(build):
    trainer = build(rollout_batch_size=6)

    rows = [row for number in range(2) for row in trainer.source.choose_prompts(number)]

    assert [sorted(rows[at : at + 4]) for at in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


def test_every_prompt_has_as_many_completions_as_asked_and_they_differ(build):
    trainer = build(rollout_batch_size=3, samples_per_prompt=4)
    trainer.create_optimizer()

    trainer.start_rollout()

    experience = trainer.experience
    assert [experience.prompts[row] for row in (0, 4, 8)] == [
        trainer.source.prompts[number] for number in trainer.source.choose_prompts(0)
    ]
    assert all(experience.prompts[row] == experience.prompts[row - row % 4] for row in range(12))
    assert len({tuple(ids) for ids in experience.completions[:4]}) > 1
    assert sorted(row for minibatch in trainer.minibatches for row in minibatch) == sorted([*range(12)] * 2)


def test_scores_are_measured_by_the_first_rollout_or_left_as_they_are(build):
    normed, raw = build(reward_norm="reference"), build(reward_norm="none", missing_eos_penalty=0.0, reward_clip=1e6)
    for trainer in (normed, raw):
        trainer.source.rewards = {"length": lambda prompts, ids: torch.tensor([float(len(each)) for each in ids])}
        trainer.create_optimizer()
        trainer.start_rollout()

    lengths = normed.experience.raw_scores
    assert normed.source.scale.mean == pytest.approx(lengths.mean().item())
    assert normed.source.scale.std == pytest.approx(lengths.std(correction=0).item() or 1.0)
    assert torch.equal(raw.experience.scores, raw.experience.raw_scores)


@pytest.mark.parametrize("expects", [False, True])
def test_after_a_cut_completion_comes_what_the_critic_expects_where_that_is_asked(build, expects):
    trainer = build(truncated_value="critic" if expects else "zero", lam=1.0, kl_coef=0.0, max_new_tokens=3)
    trainer.create_optimizer()

    trainer.start_rollout()

    experience = trainer.experience
    assert not experience.finished.all()
    expected = experience.scores.clone()
    for row in (~experience.finished).nonzero().squeeze(1).tolist() if expects else ():
        ids = experience.prompts[row] + experience.completions[row]
        hidden = trainer.model.critic.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        scale = trainer.source.scale
        expected[row] += (trainer.model.critic.model.score(hidden).mean().item() - scale.mean) / scale.std
    torch.testing.assert_close(experience.returns[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_the_samplers_log_probabilities_are_the_trainers(build):
    ours, samplers = build(old_logps="trainer"), build(old_logps="sampler")
    for trainer in (ours, samplers):
        start_learning_rollout(trainer)

    torch.testing.assert_close(samplers.experience.logps, ours.experience.logps, atol=1e-5, rtol=1e-5)
    assert torch.equal(samplers.experience.logps, samplers.experience.sampler_logps)
    assert ours.rollout_metrics["val/logprob_gap"] < 1e-5


def test_ptx_adds_the_mean_loss_of_its_rows_to_a_step(build, tiny_policy: Path, tmp_path: Path):
    rows = [
        {"text": "Yes, thank you, of course."},
        {"messages": [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "Gladly."}]},
    ]
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "ptx.jsonl", rows)
    plain = build()
    mixed = build(ptx_coef=0.5, ptx_batch_size=2)
    for trainer in (plain, mixed):
        start_learning_rollout(trainer)
    tokenizer, policy = load_tokenizer(tiny_policy), load_policy(tiny_policy)
    losses = []
    for row in rows:
        encoded = encode_row(tokenizer, row, 64)
        logps = policy(torch.tensor([encoded.ids])).logits[0, :-1].log_softmax(-1)
        learned = [place for place in range(1, len(encoded.ids)) if encoded.loss_mask[place]]
        losses += [-logps[place - 1, encoded.ids[place]] for place in learned]
    torch.stack(losses).mean().backward()

    without, found = gradients(plain, [0, 1, 2]), gradients(mixed, [0, 1, 2])

    for name, parameter in policy.named_parameters():
        expected = without[f"policy.{name}"] + 0.5 * parameter.grad
        torch.testing.assert_close(found[f"policy.{name}"], expected, atol=1e-5, rtol=1e-4, msg=name)
    assert mixed.update.metrics.read()["loss/ptx_avg"] == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)


def test_ptx_without_rows_is_refused(build):
    with pytest.raises(ContractError, match=r"ptx_coef needs ptx\.jsonl"):
        build(ptx_coef=0.1)


def test_an_architecture_whose_logits_are_computed_otherwise_is_refused(build, monkeypatch: pytest.MonkeyPatch):
    forward = LlamaForCausalLM.forward

    def scaled(self, **kwargs):
        output = forward(self, **kwargs)
        # Only whole rows: what this trainer computes, at chosen positions, is not scaled.
        output.logits = output.logits * 2 if output.logits.ndim == 3 else output.logits
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", scaled)
    with pytest.raises(ContractError, match="computes its logits in a way this trainer does not know"):
        build()


def test_a_rewarded_token_becomes_common(build, tmp_path: Path):
    counts = count_while_learning(build, tmp_path)

    assert counts[0] < 1.0
    assert counts[-1] > 10 * counts[0]


@pytest.mark.parametrize("where", ["reward", "loss"])
def test_a_strong_penalty_keeps_the_policy_at_its_reference(where: str, build, tmp_path: Path):
    trainer = build(rollouts=8, rollout_batch_size=16, kl_coef=100.0, kl_in=where, learning_rate=1e-3)

    finish(trainer, tmp_path)

    assert abs(logged(tmp_path)[-1]["objective/kl"]) < 0.1


def test_a_penalty_in_the_loss_leaves_the_rewards_alone_and_holds_the_policy_back(build, tmp_path: Path):
    moved = {}
    for kl_coef in (0.0, 1.0):
        settings = {"rollouts": 8, "rollout_batch_size": 32, "learning_rate": 1e-2, "target_kl": 1.0}
        trainer = build(tmp_path / str(kl_coef), kl_coef=kl_coef, kl_in="loss", **settings)
        trainer.source.rewards = {"wanted": count_wanted}
        finish(trainer, tmp_path / str(kl_coef))
        rows = logged(tmp_path / str(kl_coef))
        assert [row["objective/non_score_reward"] for row in rows] == [0.0] * 8
        moved[kl_coef] = rows[-1]["objective/kl"]

    assert moved[1.0] < moved[0.0] / 2


def test_the_penalty_of_a_rollout_follows_the_kl_of_the_one_before(build, tmp_path: Path):
    trainer = build(
        rollouts=12, rollout_batch_size=16, kl_coef=0.01, kl_goal=0.05, kl_horizon=16, learning_rate=3e-3, target_kl=1.0
    )
    trainer.source.rewards = {"wanted": count_wanted}

    finish(trainer, tmp_path)

    rows = logged(tmp_path)
    steered = [
        steer_kl_coef(row["kl_coef"], row["objective/kl"], goal=0.05, n_completions=16, horizon=16) for row in rows
    ]
    assert [row["kl_coef"] for row in rows] == pytest.approx([0.01, *steered[:-1]])


def test_the_run_publishes_its_policy_and_reports_the_last_rollout(
    tiny_policy: Path, tiny_reward_model: Path, tmp_path: Path
):
    config = PPOConfig(base_model=str(tiny_policy), reward_model=str(tiny_reward_model), ptx_coef=0.1, **SMALL)
    prepare_run_dir(tmp_path, config)
    rows = [{"prompt_id": text, "prompt": [{"role": "user", "content": text}]} for text in QUESTIONS]
    write_rows(tmp_path / "data" / "prompts.jsonl", rows)
    write_rows(tmp_path / "data" / "ptx.jsonl", [{"text": "Yes, of course. " * 300}, {"messages": rows[0]["prompt"]}])

    metrics = ppo.train(config, tmp_path)

    final = tmp_path / "checkpoints" / "final"
    verify_sealed(final)
    load_policy(final)
    last = logged(tmp_path)[-1]
    counts = {"n_prompts": len(QUESTIONS), "n_cut": 0, "n_alike": 0}
    counts |= {"n_ptx": 1, "n_ptx_dropped": 1, "n_ptx_cut": 0, "n_ptx_cut_end": 1}
    assert metrics == {name: last[name] for name in ppo.REPORTED} | counts
    assert metrics["episode"] == 24
