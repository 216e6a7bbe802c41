"""The demo's settings stay what its figures were measured with, whatever the defaults become."""

from __future__ import annotations

from rlhf.domain.demo import run_settings


def test_the_demo_names_all_that_its_ppo_depends_on():
    assert run_settings()["ppo"] == {
        "critic": "shared",
        "rollouts": 12,
        "ppo_epochs": 1,
        "learning_rate": 8e-4,
        "value_learning_rate": 1e-3,
        "max_prompt_tokens": 256,
        "max_new_tokens": 80,
        "target_kl": 0.05,
        "critic_warmup_rollouts": 1,
    }


def test_over_a_thousand_ranked_pairs_dpo_goes_once():
    settings = run_settings()

    assert (settings["dpo"]["epochs"], settings["dpo:ranked"]) == (3.0, {"epochs": 1.0})
