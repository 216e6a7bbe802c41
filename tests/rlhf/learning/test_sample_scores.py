from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.records import read_rows, write_rows
from rlhf.contract.run_dir import prepare_run_dir
from rlhf.learning import evaluation, reward_model, sample_scores
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.tiny_runs import TinyModels


def list_samples(pairs_file: Path, *, finished: bool = True):
    """Both sides of each pair as samples of its prompt: 0 the chosen one, 1 the rejected one."""
    return [
        {"prompt_id": str(number), "index": index, "prompt": row["prompt"], "text": text, "finished": finished}
        for number, row in enumerate(read_rows(pairs_file))
        for index, text in enumerate((row["chosen"][0]["content"], row["rejected"][0]["content"]))
    ]


def score(run_dir: Path, folder: Path, samples, **settings):
    config = ScoreConfig(base_model=str(folder), **settings)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "samples.jsonl", samples)
    return sample_scores.train(config, run_dir)


def test_samples_are_scored_as_the_reward_model_was_tested(tiny_policy: Path, tmp_path: Path):
    learned = RewardConfig(base_model=str(tiny_policy), batch_size=8, n_heads=2, dtype="float32", max_steps=6)
    prepare_run_dir(tmp_path / "reward", learned)
    write_pairs(tmp_path / "reward", n_train=32, n_test=20)
    reward_model.train(learned, tmp_path / "reward")
    folder, pairs = tmp_path / "reward" / "checkpoints" / "final", tmp_path / "reward" / "data" / "test.jsonl"
    evaluate = EvaluateConfig(base_model=str(folder))
    prepare_run_dir(tmp_path / "evaluate", evaluate)
    write_pairs(tmp_path / "evaluate", n_train=32, n_test=20)
    tested = evaluation.train(evaluate, tmp_path / "evaluate")

    told = score(tmp_path / "score", folder, list_samples(pairs))
    unfinished = score(tmp_path / "unfinished", folder, list_samples(pairs, finished=False))

    scores = {(row["prompt_id"], row["index"]): row["scores"] for row in read_rows(tmp_path / "score" / "scores.jsonl")}
    wins = [sum(scores[str(number), 0]) > sum(scores[str(number), 1]) for number in range(20)]
    assert sum(wins) / 20 == pytest.approx(tested["eval_accuracy"])
    assert (told["n_scored"], told["n_heads"], {len(heads) for heads in scores.values()}) == (40, 2, {2})
    assert (told["spread"] > 0, unfinished["score"] != told["score"]) == (True, True)


def test_a_completion_without_room_for_its_prompt_has_no_score(tiny_policy: Path, tmp_path: Path, models):
    samples = [
        {
            "prompt_id": "1",
            "index": index,
            "prompt": [{"role": "user", "content": "Hi"}],
            "text": text,
            "finished": True,
        }
        for index, text in enumerate(("Yes.", "Yes, of course. " * 40))
    ]

    told = score(tmp_path / "score", models.reward_model, samples, max_length=64)

    assert (told["n_scored"], told["n_dropped"], told["n_cut"]) == (1, 1, 0)
    assert [row["index"] for row in read_rows(tmp_path / "score" / "scores.jsonl")] == [0]


def test_rows_are_as_long_as_the_reward_model_was_trained_on(tmp_path: Path, models: TinyModels):
    folder = shutil.copytree(models.reward_model, tmp_path / "limited")
    (folder / "reward.json").write_text(json.dumps({"max_length": 24}))
    prompt = [{"role": "user", "content": "May I come in? " * 8}]
    sample = {"prompt_id": "1", "index": 0, "prompt": prompt, "text": "Yes.", "finished": True}

    own, wide, unlimited = (
        score(tmp_path / name, model, [sample], **settings)
        for name, model, settings in (
            ("own", folder, {}),
            ("wide", folder, {"max_length": 200}),
            ("unlimited", models.reward_model, {}),
        )
    )

    assert (own["n_scored"], own["n_cut"]) == (1, 1)
    assert wide["n_cut"] == unlimited["n_cut"] == 0
    assert own["score"] != wide["score"] == unlimited["score"]


def test_a_limit_below_any_template_is_refused():
    with pytest.raises(ConfigError, match="max_length must be 0 or >= 8, got 3"):
        ScoreConfig(max_length=3)


def test_a_policy_cannot_score(tiny_policy: Path, tmp_path: Path):
    samples = [
        {"prompt_id": "1", "index": 0, "prompt": [{"role": "user", "content": "Hi"}], "text": "a", "finished": True}
    ]

    with pytest.raises(ContractError, match="is not a reward model"):
        score(tmp_path / "score", tiny_policy, samples)
