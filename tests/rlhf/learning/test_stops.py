import math

import pytest

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.stops import (
    Ceiling,
    Fall,
    NonFiniteError,
    StopError,
    dpo_rules,
    grpo_rules,
    kto_rules,
    ppo_rules,
    require_finite,
    require_rules,
)


def history(name: str, *values: float) -> list[dict[str, float]]:
    return [{"step": 8 * number, name: value} for number, value in enumerate(values, 1)]


def test_a_value_at_the_limit_goes_on_and_one_beyond_it_stops():
    rule = Ceiling("objective/kl", 100.0, "raise kl_coef")

    assert rule.complain([50.0, 100.0]) == ""
    assert rule.complain([100.5]) == "objective/kl is 100.5, beyond the limit of 100; raise kl_coef"


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([1.0], False),
        ([-9.0, -9.0], False),  # a run that starts low has not fallen
        ([1.0, -3.0], False),  # once may be the draw of the prompts
        ([1.0, -3.0, 0.5, -3.0], False),
        ([1.0, -2.5, -3.0], True),
        ([1.0, -2.0, -2.0], False),  # by as much, not by more
        ([-5.0, 1.0, 0.0, -1.0, -2.5, -2.1], True),
    ],
)
def test_a_fall_counts_from_the_best_and_must_last(values: list[float], stops: bool):
    assert bool(Fall("objective/scores_norm", 3.0, "lower learning_rate").complain(values)) is stops


def test_a_fall_is_told_with_its_figures():
    complaint = Fall("rollout/finished_frac", 0.5, "raise missing_eos_penalty").complain([0.9, 0.3, 0.25])

    assert complaint == (
        "rollout/finished_frac fell from 0.9 to 0.25, more than 0.5, and stayed there 2 times; raise missing_eos_penalty"
    )


def test_the_run_stops_at_the_step_that_was_logged_last():
    with pytest.raises(
        StopError, match="stopped at step 16: objective/kl is 12, beyond the limit of 10; raise kl_coef"
    ):
        require_rules([Ceiling("objective/kl", 10.0, "raise kl_coef")], history("objective/kl", 1.0, 12.0))


def test_a_log_without_the_metric_is_no_reason_to_stop():
    old = history("objective/kl", 12.0)

    require_rules([Ceiling("objective/kl", 10.0, "")], [*old, {"step": 16.0, "train_loss": 0.1}])


def test_a_limit_of_nought_is_none():
    assert ppo_rules(PPOConfig(kl_limit=0, score_drop=0, finished_drop=0)) == []
    assert dpo_rules(DPOConfig(chosen_drop=0)) == []
    assert kto_rules(KTOConfig(chosen_drop=0, kl_limit=0)) == []
    assert grpo_rules(GRPOConfig(kl_limit=0, finished_drop=0)) == []


def test_a_loss_without_a_reference_has_no_fall_under_it():
    assert [rule.name for rule in dpo_rules(DPOConfig())] == ["logps/chosen_fall"]
    assert dpo_rules(DPOConfig(loss_type="simpo")) == []


def test_a_loss_that_estimates_no_kl_has_no_limit_of_it():
    assert [rule.name for rule in kto_rules(KTOConfig())] == ["logps/chosen_fall", "kl/per_token"]
    assert [rule.name for rule in kto_rules(KTOConfig(loss_type="apo_zero_unpaired"))] == ["logps/chosen_fall"]


def test_a_policy_without_a_critic_is_watched_with_and_without_a_penalty():
    for kl_coef in (0.0, 0.05):
        assert [rule.name for rule in grpo_rules(GRPOConfig(kl_coef=kl_coef))] == ["kl", "rollout/finished_frac"]


def test_ppo_watches_distance_score_and_ends():
    assert [rule.name for rule in ppo_rules(PPOConfig())] == [
        "objective/kl",
        "objective/scores_norm",
        "rollout/finished_frac",
    ]


def test_the_rows_of_a_bad_step_are_named_the_first_of_many():
    with pytest.raises(
        NonFiniteError,
        match=r"non-finite loss at step 3 \(rows 4, 1 of those learned from, counted from 0\); lower learning_rate",
    ):
        require_finite(3, {"loss": math.nan}, rows=[4, 1])
    with pytest.raises(
        NonFiniteError, match=r"\(rows 0, 1, 2, 3, 4, 5, 6, 7 and 12 more of those learned from, counted from 0\)"
    ):
        require_finite(3, {"grad_norm": math.inf}, rows=range(20))


def test_a_value_that_is_not_guarded_may_be_anything():
    require_finite(3, {"val/ratio": math.nan})
