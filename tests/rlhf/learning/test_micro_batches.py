import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlhf.contract.run_dir import CHECKPOINTS, EXIT_FAILED, FINAL, read_result, tail_metrics
from rlhf.learning.door import execute_run
from rlhf.learning.micro_batches import cut_batch
from tests.rlhf.learning.tiny_runs import TinyModels, prepare_tiny_run, write_models

KINDS: dict[str, tuple[str, dict]] = {
    # Blocks begin as the identity: their first gradients are rounding, of which both optimizers make whole steps.
    "pretrain": ("pretrain", {"matrix_learning_rate": 1e-4, "learning_rate": 1e-4}),
    "sft": ("sft", {}),
    "packed sft": ("sft", {"packing": "on"}),
    "reward": ("reward", {"n_heads": 2}),
    "packs of prompts": ("reward", {"balance": "prompts", "batch_size": 9}),
    "dpo": ("dpo", {"sft_coef": 0.5}),
    "kto": ("kto", {}),
    "kto without a KL": ("kto", {"loss_type": "apo_zero_unpaired"}),
}
SHORT = {"max_steps": 6, "save_steps": 100, "logging_steps": 1, "batch_size": 8, "dtype": "float32"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Models without dropout: it draws anew for every part."""
    models = write_models(tmp_path_factory.mktemp("models"))
    policy = AutoModelForCausalLM.from_pretrained(models.policy)
    policy.config.attention_dropout = 0.0
    policy.save_pretrained(models.policy)
    return models


def learn(kind: str, run_dir: Path, models: TinyModels, **settings: object) -> tuple[dict[str, Tensor], list[dict]]:
    """Return the weights a run publishes and the metrics it logs."""
    prepare_tiny_run(kind, run_dir, models, **settings)
    assert execute_run(run_dir) == 0
    logged, _ = tail_metrics(run_dir, 0)
    return load_file(run_dir / CHECKPOINTS / FINAL / "model.safetensors"), [line["values"] for line in logged]


def drop_times(values: dict[str, float]) -> dict[str, float]:
    """Return metrics without those of the clock."""
    return {name: value for name, value in values.items() if not name.endswith(("_runtime", "_per_second"))}


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_in_parts_teaches_what_it_teaches_in_one_piece(name: str, models: TinyModels, tmp_path: Path):
    kind, settings = KINDS[name]

    whole, logged = learn(kind, tmp_path / "whole", models, **SHORT | settings)
    parted, logged_of_parts = learn(kind, tmp_path / "parts", models, micro_batch_tokens=1, **SHORT | settings)

    assert {key: (parted[key] - whole[key]).abs().max().item() for key in whole} == pytest.approx(
        dict.fromkeys(whole, 0.0), abs=2e-5
    )
    assert len(logged) >= 6
    # Before the rate rises a policy is its reference: which completion it prefers is rounding.
    for expected, found in zip(logged[2:], logged_of_parts[2:], strict=True):
        assert drop_times(found) == pytest.approx(drop_times(expected), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_smaller_budget_asks_the_model_more_often(
    kind: str, models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shapes: list[tuple[int, ...]] = []
    forward = torch.nn.Embedding.forward

    def note_shape(self: torch.nn.Embedding, ids: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            shapes.append(tuple(ids.shape))
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", note_shape)
    learn(kind, tmp_path, models, micro_batch_tokens=80, **SHORT)

    assert len(shapes) > 2 * 6
    assert all(n_rows == 1 or n_rows * width <= 80 for n_rows, width in shapes)
    assert any(n_rows > 1 for n_rows, _ in shapes)


@pytest.mark.parametrize("kind", ["dpo", "kto", "reward", "sft"])
def test_a_gradient_that_is_no_number_names_the_rows_of_all_parts(
    kind: str, models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    backward = Tensor.backward
    n_calls = []

    def diverge(self: Tensor, *args: object, **kwargs: object) -> None:
        n_calls.append(1)
        backward(self * float("nan") if len(n_calls) == 2 else self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "backward", diverge)
    prepare_tiny_run(kind, tmp_path, models, micro_batch_tokens=1, **SHORT)

    assert execute_run(tmp_path) == EXIT_FAILED
    named = re.match(r"non-finite grad_norm at step 1 \(rows ([\d, ]+) of", read_result(tmp_path)["cause"])
    assert len(named[1].split(", ")) == 8


def test_parts_have_at_least_a_row_and_shares_that_sum_to_one():
    cut = cut_batch("abcde", [9, 3, 4, 30, 2], budget=10)

    assert [part for part, _ in cut] == [["d"], ["a"], ["c", "b"], ["e"]]
    assert [share for _, share in cut] == [0.2, 0.2, 0.4, 0.2]


def test_no_budget_leaves_the_batch_and_its_order():
    assert cut_batch("abcde", [9, 3, 4, 30, 2], budget=0) == [(["a", "b", "c", "d", "e"], 1.0)]


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_has_as_many_parts(rank: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))

    cut = cut_batch("abc", [10, 9, 8], budget=10)

    # The mean over two processes of what three rows count for is a third each.
    assert cut == ([(["a"], 2 / 3), (["c"], 2 / 3)] if rank == 0 else [(["b"], 2 / 3), (["c"], 0.0)])
