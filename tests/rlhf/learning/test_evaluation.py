import json
import math
from pathlib import Path

import pytest

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import prepare_run_dir, read_progress
from rlhf.learning import dpo, evaluation, reward_model
from tests.rlhf.learning.conftest import write_pairs

SHARED = (
    "n_test",
    "n_test_ties",
    "baseline_longer",
    "baseline_shorter",
    "baseline_longer_low",
    "baseline_shorter_high",
)


def prepare(run_dir: Path, config) -> Path:
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=32, n_test=20)
    return run_dir


def test_a_reward_model_is_found_as_good_as_its_run_said(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=3e-4, dtype="float32")
    said = reward_model.train(config, prepare(tmp_path / "reward", config))
    evaluate = EvaluateConfig(base_model=str(tmp_path / "reward" / "checkpoints" / "final"))

    found = evaluation.train(evaluate, prepare(tmp_path / "evaluate", evaluate))

    names = ("eval_accuracy", "eval_accuracy_low", "eval_accuracy_high", "eval_log_loss", "eval_ece", *SHARED)
    assert {name: found[name] for name in names} == pytest.approx({name: said[name] for name in names}, rel=1e-5)
    assert read_progress(tmp_path / "evaluate")["step"] == 3


def test_a_reward_models_scores_are_made_probabilities_by_its_own_temperature_on_other_pairs(
    tiny_policy: Path, tmp_path: Path
):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=1e-2, dtype="float32")
    reward_model.train(config, prepare(tmp_path / "reward", config))
    final = tmp_path / "reward" / "checkpoints" / "final"
    card = json.loads((final / "reward.json").read_text())
    (final / "reward.json").write_text(json.dumps(card | {"temperature": 1e6}))
    evaluate = EvaluateConfig(base_model=str(final))

    found = evaluation.train(evaluate, prepare(tmp_path / "evaluate", evaluate))

    assert found["eval_log_loss_calibrated"] == pytest.approx(math.log(2), abs=1e-4)  # so hot, it knows nothing
    assert found["eval_brier_calibrated"] == pytest.approx(0.25, abs=1e-4)
    assert found["eval_ece_calibrated"] == pytest.approx(found["eval_accuracy"] - 0.5, abs=1e-4)
    assert found["eval_log_loss"] < 0.6


def test_a_reward_model_is_evaluated_on_rows_of_its_own_length(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, dtype="float32", max_length=24)
    said = reward_model.train(config, prepare(tmp_path / "reward", config))
    final = tmp_path / "reward" / "checkpoints" / "final"
    roomy, tight = EvaluateConfig(base_model=str(final)), EvaluateConfig(base_model=str(final), max_length=22)

    found, shorter = (evaluation.train(each, prepare(tmp_path / str(each.max_length), each)) for each in (roomy, tight))

    assert 0 < found["n_cut"] < shorter["n_cut"]  # a setting that is lower still counts
    assert found["eval_accuracy"] == said["eval_accuracy"]
    assert found["eval_log_loss"] == pytest.approx(said["eval_log_loss"], rel=1e-5)


def test_a_policy_is_judged_by_its_ratio_to_the_reference(tiny_policy: Path, tmp_path: Path):
    config = DPOConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=1e-4)
    said = dpo.train(config, prepare(tmp_path / "dpo", config))
    evaluate = EvaluateConfig(
        base_model=str(tmp_path / "dpo" / "checkpoints" / "final"), reference_model=str(tiny_policy)
    )

    found = evaluation.train(evaluate, prepare(tmp_path / "evaluate", evaluate))

    names = ("eval_rewards/accuracies", "eval_rewards/accuracies_low", *SHARED)
    assert {name: found[name] for name in names} == pytest.approx({name: said[name] for name in names})


def test_a_policy_without_reference_is_refused(tiny_policy: Path, tmp_path: Path):
    evaluate = EvaluateConfig(base_model=str(tiny_policy))

    with pytest.raises(ContractError, match="base_model is a policy: name its reference_model"):
        evaluation.train(evaluate, prepare(tmp_path, evaluate))
