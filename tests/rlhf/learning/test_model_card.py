import hashlib
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from rlhf.contract.model_folder import check_model_folder
from rlhf.contract.run_dir import CHECKPOINTS, EXIT_DONE, FINAL, read_result, verify_sealed
from rlhf.learning import door
from rlhf.learning.door import execute_run
from tests.rlhf.learning.tiny_runs import TinyModels, prepare_tiny_run


def run(kind: str, run_dir: Path, models: TinyModels, **settings) -> Path:
    prepare_tiny_run(kind, run_dir, models, **settings)
    assert execute_run(run_dir) == EXIT_DONE, read_result(run_dir)
    return run_dir / CHECKPOINTS / FINAL


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_card_tells_what_the_model_learned_from_and_how_and_what_came_of_it(models: TinyModels, tmp_path: Path):
    final = run("dpo", tmp_path / "run", models, max_steps=2, beta=0.3)

    card = (final / "README.md").read_text()

    metrics = read_result(tmp_path / "run")["metrics"]
    weights, rows = models.policy / "model.safetensors", tmp_path / "run" / "data" / "train.jsonl"
    assert card.splitlines()[:5] == [
        "---",
        'library_name: "transformers"',
        'pipeline_tag: "text-generation"',
        'tags: ["prefloop", "dpo"]',
        "---",
    ]
    assert f"- base_model: model.safetensors sha256 `{sha256(weights)}`" in card
    assert f"| train.jsonl | 26 | `{sha256(rows)}` |" in card
    assert '\n "beta": 0.3,' in card
    assert f"| eval_rewards/chosen | {metrics['eval_rewards/chosen']:.4g} |" in card
    assert 'AutoModelForCausalLM.from_pretrained("this-folder")' in card
    assert str(tmp_path) not in card
    assert str(models.policy) not in card


def test_a_card_is_named_in_the_manifest_and_refuses_nobody(models: TinyModels, tmp_path: Path):
    final = run("sft", tmp_path / "run", models, max_steps=2)

    verify_sealed(final)

    files = json.loads((final / "manifest.json").read_text())["files"]
    assert files["README.md"] == {"sha256": sha256(final / "README.md"), "size": (final / "README.md").stat().st_size}
    check_model_folder(final, needs_tokenizer=True)
    AutoModelForCausalLM.from_pretrained(final)
    (final / "README.md").write_text("another")
    with pytest.raises(Exception, match="differs from its manifest"):
        verify_sealed(final)


def test_a_model_that_was_published_before_is_named_by_its_manifest(models: TinyModels, tmp_path: Path):
    first = run("sft", tmp_path / "first", models, max_steps=2)

    second = run("sft", tmp_path / "second", models, max_steps=2, base_model=str(first))

    assert f"- base_model: manifest.json sha256 `{verify_sealed(first)}`" in (second / "README.md").read_text()


@pytest.mark.parametrize(
    ("head", "loads_by"), [("last", "AutoModelForSequenceClassification"), ("tokens", "load_reward_model")]
)
def test_a_reward_models_card_says_how_it_is_loaded(head: str, loads_by: str, models: TinyModels, tmp_path: Path):
    card = (run("reward", tmp_path / "run", models, max_steps=2, head=head) / "README.md").read_text()

    assert 'pipeline_tag: "text-classification"' in card
    assert "# A reward model by reward" in card
    assert loads_by in card
    assert "vllm" not in card


def test_equal_runs_make_equal_cards(models: TinyModels, tmp_path: Path):
    one, two = (run("ppo", tmp_path / name, models, rollouts=1) for name in ("one", "two"))

    assert (one / "README.md").read_bytes() == (two / "README.md").read_bytes()
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()


def test_a_process_that_dies_between_card_and_manifest_leaves_a_whole_model(
    models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "add_card", lambda *_: None)
    final = run("sft", tmp_path / "run", models, max_steps=2)
    (final / "README.md").write_text("half a ca")

    verify_sealed(final)
