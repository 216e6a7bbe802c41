"""Weights in pieces in two processes (FSDP2 over gloo): what is learned, published and taken up again is what one makes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import EXIT_DONE, RESULT, prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning.door import execute_run
from rlhf.learning.processes import require_shardable
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.two_processes import configure, run_in_two, write_demonstrations, write_texts, write_verdicts

RUNS = ("pretrain", "sft", "reward", "dpo", "kto", "sft-lora", "reward-lora", "dpo-lora")
IN_PARTS = ("sft", "dpo")  # learned from in micro-batches where the weights lie in pieces
OWN_LOOP = ("pretrain", "sft")  # the others are Trainer's
# trl/accelerate_configs/fsdp2.yaml, line by line.
FSDP2 = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_state_dict_type", "FULL_STATE_DICT"]
FSDP2 += ["--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP", "--fsdp_cpu_ram_efficient_loading", "true"]
FSDP2 += ["--fsdp_reshard_after_forward", "true", "--fsdp_offload_params", "false"]


def prepare(run_dir: Path, policy: Path) -> None:
    kind, _, adapters = run_dir.name.partition("-")
    config = configure(kind, policy, policy)
    is_alone = run_dir.parent.name.startswith("alone")
    if adapters:
        config = config.replace(lora_rank=4, gradient_checkpointing="off" if is_alone else "on")
    if run_dir.name in IN_PARTS and not is_alone:
        config = config.replace(micro_batch_tokens=40)
    prepare_run_dir(run_dir, config)
    write_pairs(run_dir, n_train=13, n_test=4)
    if kind == "pretrain":
        write_texts(run_dir)
    if kind == "sft":
        write_demonstrations(run_dir)
    if kind == "kto":
        write_verdicts(run_dir)


def forget_the_second_half(run_dir: Path) -> None:
    """Leave of a run what a kill after its third step leaves: the checkpoint of the second."""
    shutil.rmtree(run_dir / "checkpoints" / "final")
    shutil.rmtree(run_dir / "checkpoints" / "checkpoint-4", ignore_errors=True)
    (run_dir / RESULT).unlink()
    (run_dir / "metrics.jsonl").unlink()


@pytest.fixture(scope="module")
def homes(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every run done by one process, by two with the weights in pieces, and by two of which each was killed once."""
    homes = {way: tmp_path_factory.mktemp(way) for way in ("alone", "pieces", "again")}
    for name in RUNS:
        for way in ("alone", "pieces"):
            prepare(homes[way] / name, tiny_policy)
    before = signal.getsignal(signal.SIGTERM)
    for name in RUNS:
        assert execute_run(homes["alone"] / name) == EXIT_DONE
    signal.signal(signal.SIGTERM, before)
    said = run_in_two(*(homes["pieces"] / name for name in RUNS), way=FSDP2, door="go_in_pieces")
    assert said.count("the weights lie in pieces in 2 processes") == 2 * sum(name.startswith(OWN_LOOP) for name in RUNS)
    for name in RUNS:
        shutil.copytree(homes["pieces"] / name, homes["again"] / name)
        forget_the_second_half(homes["again"] / name)
    run_in_two(*(homes["again"] / name for name in RUNS), way=FSDP2, door="go_in_pieces")
    return homes


def read_losses(run_dir: Path) -> list[float]:
    return [line["values"]["loss"] for line in tail_metrics(run_dir, 0)[0] if "loss" in line["values"]]


def require_same_weights(found: Path, expected: Path) -> None:
    weights, wanted = load_file(found), load_file(expected)
    assert weights.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("name", RUNS)
def test_weights_in_pieces_learn_what_whole_ones_learn(name: str, homes: dict[str, Path]):
    losses = read_losses(homes["alone"] / name)

    assert len(losses) == 4
    assert read_losses(homes["pieces"] / name) == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_what_is_published_from_pieces_is_whole(name: str, homes: dict[str, Path]):
    final, expected = (homes[way] / name / "checkpoints" / "final" for way in ("pieces", "alone"))

    verify_sealed(final)
    assert sorted(str(path.relative_to(final)) for path in final.rglob("*")) == sorted(
        str(path.relative_to(expected)) for path in expected.rglob("*")
    )
    require_same_weights(final / "model.safetensors", expected / "model.safetensors")
    if name.endswith("lora"):
        adapter = Path("adapter") / "adapter_model.safetensors"
        require_same_weights(final / adapter, expected / adapter)
    kind = AutoModelForSequenceClassification if name.startswith("reward") else AutoModelForCausalLM
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        found, wanted = (kind.from_pretrained(folder)(input_ids=ids).logits for folder in (final, expected))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_in_pieces_is_taken_up_from_its_checkpoint(name: str, homes: dict[str, Path]):
    checkpoint = homes["again"] / name / "checkpoints" / "checkpoint-2"

    verify_sealed(checkpoint)
    assert (checkpoint / "pytorch_model_fsdp.bin").exists() != name.startswith(OWN_LOOP)  # accelerate's mark of pieces
    assert read_losses(homes["again"] / name) == pytest.approx(read_losses(homes["alone"] / name)[2:], abs=1e-5)
    weights = Path(name) / "checkpoints" / "final" / "model.safetensors"
    require_same_weights(homes["again"] / weights, homes["alone"] / weights)


@pytest.mark.parametrize(
    ("kind", "launched", "sentence"),
    [
        ("ppo", {"ACCELERATE_USE_FSDP": "true"}, "a ppo run keeps whole weights in each process and knows no FSDP"),
        ("sft", {"ACCELERATE_USE_FSDP": "true"}, "FSDP of version 1 cannot be published from; set fsdp_version: 2"),
        (
            "dpo",
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"},
            "set fsdp_state_dict_type: FULL_STATE_DICT",
        ),
        (
            "dpo",
            {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
            "a dpo run cannot publish what DeepSpeed cuts up",
        ),
    ],
)
def test_what_could_not_be_published_is_refused(
    kind: str, launched: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {"WORLD_SIZE": "2", **launched}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ContractError, match=sentence):
        require_shardable(kind)


def test_adapters_under_zero_of_stage_2_are_refused(monkeypatch: pytest.MonkeyPatch):
    launched = {"WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)

    require_shardable("dpo")
    with pytest.raises(ContractError, match="set zero_stage: 1"):
        require_shardable("dpo", has_adapters=True)
    with pytest.raises(ContractError, match="set micro_batch_tokens=0"):
        require_shardable("dpo", in_parts=True)


def test_every_process_loads_whole_weights(monkeypatch: pytest.MonkeyPatch):
    launched = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    launched |= {"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)

    require_shardable("dpo")

    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
