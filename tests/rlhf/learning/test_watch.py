"""Judges that look on, and the alarm they raise in a real PPO run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from rlhf.contract.alarm import Point
from rlhf.contract.best_of_n import best_of_n_kl
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import append_alarm, prepare_run_dir, read_alarms, tail_metrics
from rlhf.learning import ppo
from rlhf.learning.checkpointing import train_sealed
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.ppo_trainer import ReportRollouts
from rlhf.learning.scorer import IdScorer
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.token_scorer import TokenScorer, read_opening
from rlhf.learning.tokenization import encode_prompt
from rlhf.learning.watch import WATCH, Watch, normalise_heads, score_all, tell_alarm, trace_curve
from tests.rlhf.learning.conftest import QUESTIONS

SMALL = {
    "rollouts": 2,
    "rollout_batch_size": 8,
    "ppo_epochs": 1,
    "num_minibatches": 1,
    "max_new_tokens": 8,
    "learning_rate": 1e-4,
    "value_learning_rate": 3e-4,
    "critic_warmup_rollouts": 1,
    "target_kl": 0.05,
    "alarm_prompts": 3,
    "alarm_samples": 4,
}


@pytest.fixture(scope="session")
def two_heads(tiny_policy, tmp_path_factory):
    """A random reward model whose two heads do not agree."""
    folder = tmp_path_factory.mktemp("two-heads")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(str(tiny_policy), tokenizer, seed=3, n_heads=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build(tiny_policy, reward_model, run_dir, **settings):
    config = PPOConfig(base_model=str(tiny_policy), reward_model=str(reward_model), **{**SMALL, **settings})
    prepare_run_dir(run_dir, config)
    tokenizer = load_tokenizer(tiny_policy)
    prompts = [encode_prompt(tokenizer, [{"role": "user", "content": text}], 64) for text in QUESTIONS]
    return ppo.build_trainer(config, run_dir, prompts=prompts, tokenizer=tokenizer)


def logged(run_dir):
    return [line["values"] for line in tail_metrics(run_dir, 0)[0] if "objective/kl" in line["values"]]


def test_the_curve_is_the_mean_over_prompts_of_the_best_of_one_two_four():
    scores, doubts = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]], [[0.0, 0.0, 0.0, 8.0], [4.0, 4.0, 4.0, 4.0]]

    assert trace_curve(scores, doubts) == [
        Point(0.0, 3.0),
        Point(best_of_n_kl(2), (4.0 + 4.0) / 2),
        Point(best_of_n_kl(4), (8.0 + 4.0) / 2),
    ]


def test_heads_are_measured_in_their_own_spread_over_the_reference(tiny_policy, two_heads, tmp_path):
    trainer = build(tiny_policy, two_heads, tmp_path)
    watch = trainer.watch
    trainer.create_optimizer()
    trainer.start_rollout()

    values = watch.look(trainer.experience)
    rows = [p + ids for p, ids in zip(trainer.experience.prompts, trainer.experience.completions, strict=True)]
    starts = [len(prompt) for prompt in trainer.experience.prompts]
    heads = normalise_heads(score_all(watch.judges, rows, starts=starts), watch.scale)

    assert values["alarm/proxy"] == pytest.approx(heads.mean().item())
    assert values["alarm/doubt"] == pytest.approx(torch.minimum(heads[:, 0], heads[:, 1]).mean().item())
    assert values["alarm/doubt"] < values["alarm/proxy"]
    assert [point.kl for point in watch.curve] == pytest.approx([best_of_n_kl(n) for n in (1, 2, 4)])


def test_a_completion_that_writes_an_opening_is_looked_at_whole(tiny_policy, two_heads, tmp_path):
    opening = read_opening(load_tokenizer(tiny_policy))
    scorer = TokenScorer(load_policy(str(tiny_policy)), opening=opening, n_heads=2)
    scorer.words.data.normal_(generator=torch.Generator().manual_seed(0))
    trainer = build(tiny_policy, two_heads, tmp_path)
    trainer.create_optimizer()
    trainer.start_rollout()
    drawn = trainer.experience
    written = replace(drawn, completions=[ids + opening for ids in drawn.completions])

    watch = Watch([scorer], n_rewarding=2, scale=torch.tensor([[0.0, 1.0], [0.0, 1.0]]), curve=[])

    scores = IdScorer(scorer)(written.prompts, written.completions)
    assert watch.look(written)["alarm/proxy"] == pytest.approx(scores.mean().item(), rel=1e-3)


def test_what_rewards_reads_no_rollout_twice(tiny_policy, two_heads, tmp_path):
    trainer = build(tiny_policy, two_heads, tmp_path)
    trainer.create_optimizer()
    trainer.start_rollout()
    drawn, watch = trainer.experience, trainer.watch
    seen = watch.look(drawn)
    watch.judges[0].score.weight.data.zero_()

    again = watch.look(drawn)
    other = watch.look(replace(drawn, completions=[ids[:-1] for ids in drawn.completions]))

    assert again == seen
    assert other["alarm/proxy"] == pytest.approx((-watch.scale[:, 0] / watch.scale[:, 1]).mean().item())


def test_a_held_out_model_doubts_a_single_head(tiny_policy, two_heads, tmp_path):
    tokenizer = load_tokenizer(tiny_policy)
    for name, seed in (("one", 5), ("other", 6)):
        load_reward_model(str(tiny_policy), tokenizer, seed=seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)

    alone = build(tiny_policy, tmp_path / "one", tmp_path / "alone")
    watched = build(tiny_policy, tmp_path / "one", tmp_path / "watched", heldout_model=str(tmp_path / "other"))

    assert alone.watch is None
    assert (len(watched.watch.judges), watched.watch.n_rewarding, watched.watch.scale.shape) == (2, 1, (2, 2))


def test_looking_on_changes_nothing_that_is_learned(tiny_policy, two_heads, tmp_path):
    def train(name, **settings):
        trainer = build(tiny_policy, two_heads, tmp_path / name, **settings)
        train_sealed(trainer, ReportRollouts(tmp_path / name, trainer))
        return trainer.model.policy.state_dict()

    watched, alone = train("watched"), train("alone", alarm="off")

    assert all(torch.equal(watched[name], alone[name]) for name in watched)
    assert ["alarm/doubt" in values for values in logged(tmp_path / "watched")] == [True, True]
    assert ["alarm/doubt" in values for values in logged(tmp_path / "alone")] == [False, False]


def test_a_resumed_run_goes_on_with_what_was_measured_first(tiny_policy, two_heads, tmp_path):
    build(tiny_policy, two_heads, tmp_path)
    measured = json.loads((tmp_path / WATCH).read_text())
    measured["scale"] = [[1.0, 2.0], [3.0, 4.0]]
    (tmp_path / WATCH).write_text(json.dumps(measured))

    assert build(tiny_policy, two_heads, tmp_path).watch.scale.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def rollout(step, *, finished, distinct):
    values = {"rollout/finished_frac": finished, "rollout/distinct_2": distinct}
    return {"step": step, "objective/kl": 1.0, **values}


def test_signs_are_told_once_and_only_two_together(tmp_path):
    log = [{"step": 1, "loss": 0.5}, *(rollout(step, finished=1.0, distinct=0.9) for step in (4, 8, 12, 16))]
    assert tell_alarm(tmp_path, log) is False
    log += [rollout(step, finished=0.5, distinct=0.9) for step in (20, 24, 28)]
    assert tell_alarm(tmp_path, log) is False  # one sign
    log += [rollout(step, finished=0.5, distinct=0.2) for step in (32, 36, 40, 44)]
    assert tell_alarm(tmp_path, log) is True
    log.append(rollout(48, finished=0.5, distinct=0.2))
    assert tell_alarm(tmp_path, log) is True

    assert [(alarm["step"], alarm["name"]) for alarm in read_alarms(tmp_path)] == [
        (44, "diversity_lost"),
        (44, "unfinished"),
    ]


def test_a_half_written_sign_waits(tmp_path):
    append_alarm(tmp_path, 3, "unfinished", "Only 40% …")
    with (tmp_path / "alarms.jsonl").open("a") as file:
        file.write('{"step": 4, "na')

    assert read_alarms(tmp_path) == [{"step": 3, "name": "unfinished", "words": "Only 40% …"}]


@pytest.mark.parametrize(("alarm", "n_rollouts"), [("stop", range(4, 7)), ("warn", range(7, 8))])
def test_an_alarm_ends_the_run_where_that_is_wanted(tiny_policy, two_heads, tmp_path, alarm, n_rollouts):
    """A policy that is rewarded for one token says it alone, and comes to no end."""
    trainer = build(
        tiny_policy,
        two_heads,
        tmp_path,
        alarm=alarm,
        rollouts=7,
        rollout_batch_size=16,
        ppo_epochs=4,
        learning_rate=2e-2,
        target_kl=100.0,
        kl_coef=0.0,
        kl_limit=0.0,
        critic_warmup_rollouts=0,
    )
    trainer.source.rewards = {
        "one": lambda prompts, completions: torch.tensor([float(ids.count(7)) for ids in completions])
    }

    train_sealed(trainer, ReportRollouts(tmp_path, trainer))

    assert trainer.rollouts_started in n_rollouts
    signs = [sign["name"] for sign in read_alarms(tmp_path)]
    assert "unfinished" in signs
    assert len(signs) >= 2
