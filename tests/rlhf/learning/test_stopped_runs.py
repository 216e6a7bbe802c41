"""Runs that go wrong for real are stopped with their cause, and publish nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf.contract.run_dir import ALLOWED_REWARDS, CHECKPOINTS, DATA, EXIT_FAILED, FINAL, read_result, tail_metrics
from rlhf.learning.door import execute_run
from tests.rlhf.learning.tiny_runs import TinyModels, prepare_tiny_run


def score_two_rollouts_well(prompts: list[str], completions: list[str], **facts: Any) -> list[float]:
    """Score as a reward model does that the policy has found a way around, from the third rollout on."""
    n_calls.append(1)
    return [(0.0 if len(n_calls) <= 2 else -100.0) + number % 3 for number in range(len(completions))]


n_calls: list[int] = []


def stop_run(kind: str, run_dir: Path, models: TinyModels, **settings: Any) -> str:
    """Do a run that must fail, and return the cause once nothing of it was found published."""
    prepare_tiny_run(kind, run_dir, models, **settings)
    assert execute_run(run_dir) == EXIT_FAILED
    assert not (run_dir / CHECKPOINTS / FINAL).exists()
    return read_result(run_dir)["cause"]


def test_a_policy_that_leaves_its_reference_is_stopped(models: TinyModels, tmp_path: Path):
    cause = stop_run("ppo", tmp_path, models, learning_rate=0.05, kl_limit=2.0, kl_goal=0.0, target_kl=1e6)

    last = tail_metrics(tmp_path, 0)[0][-1]
    kl = last["values"]["objective/kl"]
    assert kl > 2
    assert cause == (
        f"stopped at step {last['step']}: objective/kl is {kl:.4g}, beyond the limit of 2; "
        "raise kl_coef, lower learning_rate, or raise kl_limit if that distance is wanted"
    )


def test_a_policy_whose_score_collapses_is_stopped_at_the_second_bad_rollout(models: TinyModels, tmp_path: Path):
    n_calls.clear()
    (tmp_path / DATA).mkdir()
    allowed = {"fickle": f"{__name__}:{score_two_rollouts_well.__name__}"}
    (tmp_path / DATA / ALLOWED_REWARDS).write_text(json.dumps(allowed))

    cause = stop_run("ppo", tmp_path, models, rewards="fickle=1", missing_eos_penalty=0.0)

    assert cause.startswith("stopped at step 16: objective/scores_norm fell from")
    assert cause.endswith("; lower learning_rate or target_kl, raise kl_coef, or raise score_drop")


def test_a_dpo_run_that_forgets_the_chosen_completions_is_stopped(models: TinyModels, tmp_path: Path):
    cause = stop_run("dpo", tmp_path, models, learning_rate=0.3, beta=0.01)

    assert cause.startswith("stopped at step 9: logps/chosen_fall is ")
    assert cause.endswith("; raise beta, lower learning_rate, or set sft_coef, which keeps chosen completions likely")


@pytest.mark.parametrize(
    ("settings", "complaint", "advice"),
    [
        ({"kl_limit": 0.0}, "logps/chosen_fall is ", "raise beta, lower learning_rate, or raise desirable_weight"),
        (
            {"chosen_drop": 0.0, "kl_limit": 0.25},
            "kl/per_token is ",
            "raise beta, lower learning_rate, or raise kl_limit",
        ),
    ],
)
def test_a_kto_run_that_forgets_the_good_completions_or_runs_away_is_stopped(
    settings: dict, complaint: str, advice: str, models: TinyModels, tmp_path: Path
):
    cause = stop_run("kto", tmp_path, models, learning_rate=0.3, beta=0.01, **settings)

    assert complaint in cause
    assert advice in cause


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("ppo", ("kl_limit", "score_drop", "finished_drop")),
        ("dpo", ("chosen_drop",)),
        ("kto", ("chosen_drop", "kl_limit")),
    ],
)
def test_limits_of_nought_let_the_same_runs_go_on(
    kind: str, limits: tuple[str, ...], models: TinyModels, tmp_path: Path
):
    settings = dict.fromkeys(limits, 0) | {"learning_rate": 0.05}
    steps = {"rollouts": 3, "target_kl": 1e6} if kind == "ppo" else {"beta": 0.01, "learning_rate": 0.3}
    prepare_tiny_run(kind, tmp_path, models, **(settings | steps))

    execute_run(tmp_path)

    assert read_result(tmp_path)["cause"] == ""
