"""Estimates of runs about to be queued, with real model folders, stored rows and earlier runs."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.domain.errors import DoesNotFit
from rlhf.domain.forecasting import describe_estimate, describe_usage, estimate_new_run
from rlhf.domain.runs import create_run
from rlhf.domain.sizing import read_shape, shape_rows
from rlhf.models import Run
from tests.rlhf.conftest import make_checkpoint, make_dataset, make_run, message

GIGABYTE = 10**9


def write_model(folder: Path, *, n_parameters: int = 1000, **config) -> Path:
    """Write the two files of a model folder that an estimate reads; the weights are their header alone."""
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({"vocab_size": 100, **(config or sizes)}))
    header = json.dumps({"__metadata__": {}, "a": {"shape": [n_parameters // 10, 10]}, "b": {"shape": []}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


@pytest.fixture
def base(project):
    checkpoint = make_checkpoint(project)
    write_model(Path(settings.PREFLOOP_HOME) / checkpoint.path)
    return checkpoint


def usage(**changes):
    return {
        "seconds": 60.0,
        "peak_memory_bytes": GIGABYTE,
        "total_memory_bytes": 8 * GIGABYTE,
        "host": "here",
    } | changes


def test_a_models_weights_are_counted_in_the_header_of_its_file(tmp_path: Path):
    shape = read_shape(write_model(tmp_path / "llama", n_parameters=5000))

    assert (shape.n_parameters, shape.vocab_size, shape.hidden_size, shape.n_layers) == (5001, 100, 8, 2)


def test_other_words_for_the_same_sizes_are_understood(tmp_path: Path):
    shape = read_shape(write_model(tmp_path / "gpt2", n_embd=8, n_inner=None, n_layer=3, n_head=2))

    assert (shape.hidden_size, shape.intermediate_size, shape.n_layers, shape.n_heads) == (8, 32, 3, 2)


def test_rows_are_measured_before_and_after_the_place_where_learning_begins():
    said = message("x" * 40)
    rows = shape_rows(
        [{"prompt": [said], "chosen": [message("y" * 80, "assistant")], "rejected": [message("z" * 40, "assistant")]}],
        n_rows=9,
        n_test=1,
    )

    assert (rows.n_rows, rows.prompt, rows.answer, rows.longest) == (9, 14.0, 38.0, 52.0)
    assert shape_rows([{"text": "x" * 40}], n_rows=1, n_test=0).answer == 10.0
    assert shape_rows([{"messages": [said, message("y" * 8, "assistant")]}], n_rows=1, n_test=0).answer == 6.0


def test_a_run_is_queued_with_its_estimate_and_tells_it(project, base):
    run = create_run(project, DPOConfig(), dataset=make_dataset(project), base=base)

    assert run.estimate.keys() == {"memory_bytes", "seconds", "uncorrected_s", "total_bytes"}
    assert describe_estimate(run).startswith("fits: about ")


def test_a_run_far_too_large_is_refused_unless_forced(project, base):
    make_run(project, kind="sft", state="succeeded", result={"usage": usage(total_memory_bytes=10**8)})
    dataset = make_dataset(project)

    with pytest.raises(DoesNotFit, match=r"does not fit: about .* of 100 MB.*train --force starts"):
        create_run(project, DPOConfig(), dataset=dataset, base=base)
    run = create_run(project, DPOConfig(), dataset=dataset, base=base, force=True)

    assert Run.objects.filter(kind="dpo").get() == run


def test_the_memory_is_that_of_the_host_which_learned_last_and_its_time_corrects_the_estimate(project, base):
    dataset = make_dataset(project)
    first = estimate_new_run(DPOConfig(), dataset=dataset, base=base)
    for seconds, host in ((30.0, "here"), (900.0, "elsewhere"), (30.0, "here")):
        made = make_run(project, state="succeeded", result={"usage": usage(seconds=seconds, host=host)})
        Run.objects.filter(pk=made.pk).update(estimate={"uncorrected_s": 10.0})

    corrected = estimate_new_run(DPOConfig(), dataset=dataset, base=base)

    assert corrected.total_bytes == 8 * GIGABYTE
    assert corrected.seconds == pytest.approx(3 * first.uncorrected_s, abs=0.05)


@pytest.mark.parametrize("setting", [{"head": "tokens"}, {"lora_rank": 8}, {"gradient_checkpointing": "on"}])
def test_a_run_that_goes_another_way_corrects_no_estimate(setting: dict, project, base):
    dataset = make_dataset(project)
    for config, seconds in ((RewardConfig(learning_rate=1e-3), 30.0), (RewardConfig(**setting), 0.1)):
        made = make_run(project, kind="reward", state="succeeded", result={"usage": usage(seconds=seconds)})
        settings_of_it = {name: value for name, value in json.loads(config.to_json()).items() if name != "margin_scale"}
        Run.objects.filter(pk=made.pk).update(estimate={"uncorrected_s": 10.0}, config=settings_of_it)

    plain, other = (estimate_new_run(each, dataset=dataset, base=base) for each in (RewardConfig(), config))

    assert plain.seconds == pytest.approx(3 * plain.uncorrected_s, abs=0.05)
    assert other.seconds == pytest.approx(0.01 * other.uncorrected_s, rel=0.01, abs=0.05)


def test_on_a_gpu_the_memory_is_what_others_leave_of_it(project, base):
    dataset = make_dataset(project)
    on_the_host = estimate_new_run(DPOConfig(), dataset=dataset, base=base)
    device = {"device": "a GPU", "peak_device_bytes": 1, "total_device_bytes": 6 * GIGABYTE}
    make_run(project, state="succeeded", result={"usage": usage(**device)})
    whole = estimate_new_run(DPOConfig(), dataset=dataset, base=base)
    make_run(project, state="succeeded", result={"usage": usage(**device, free_device_bytes=GIGABYTE)})

    shared = estimate_new_run(DPOConfig(), dataset=dataset, base=base)

    assert [each.total_bytes for each in (whole, shared)] == [6 * GIGABYTE, GIGABYTE]
    assert shared.memory_bytes == whole.memory_bytes != on_the_host.memory_bytes


def test_seconds_on_a_processor_say_nothing_of_those_on_a_gpu(project, base):
    dataset = make_dataset(project)
    for device in ({}, {"device": "a GPU"}):
        made = make_run(project, state="succeeded", result={"usage": usage(seconds=70.0, **device)})
        Run.objects.filter(pk=made.pk).update(estimate={"uncorrected_s": 10.0 if device else 1.0})

    corrected = estimate_new_run(DPOConfig(), dataset=dataset, base=base)

    assert corrected.seconds == pytest.approx(7 * corrected.uncorrected_s, abs=0.05)


@pytest.mark.parametrize("reason", ["no dataset", "a model that is elsewhere"])
def test_what_cannot_be_known_is_not_estimated(reason: str, project, base):
    dataset = None if reason == "no dataset" else make_dataset(project)
    model = make_checkpoint(project) if reason == "a model that is elsewhere" else base

    assert estimate_new_run(DPOConfig(), dataset=dataset, base=model) is None


STRANGE_CONFIGS = {
    "Mamba": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2},
    "Gemma3n": {
        "text_config": {
            "vocab_size": 100, "hidden_size": 8, "intermediate_size": [16, 16],
            "num_hidden_layers": 2, "num_attention_heads": 2,
        },
    },
    "no object": {"text_config": [1]},
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE_CONFIGS)
def test_a_model_of_an_unknown_shape_is_queued_without_an_estimate(name: str, project):
    checkpoint = make_checkpoint(project)
    write_model(Path(settings.PREFLOOP_HOME) / checkpoint.path, **STRANGE_CONFIGS[name])

    run = create_run(project, DPOConfig(), dataset=make_dataset(project), base=checkpoint)

    assert (run.state, run.estimate) == ("queued", {})


@pytest.mark.parametrize("row", [None, b"not json", b'{"prompt": 5}', b"[1]"])
def test_rows_that_are_lost_or_damaged_leave_a_run_without_an_estimate(row: bytes | None, project, base):
    dataset = make_dataset(project)
    default_storage.delete(dataset.file_name("train"))
    if row:
        default_storage.save(dataset.file_name("train"), ContentFile(row))

    run = create_run(project, DPOConfig(), dataset=dataset, base=base)

    assert (run.state, run.estimate) == ("queued", {})


def test_earlier_runs_that_never_said_what_they_took_correct_nothing(project, base):
    dataset = make_dataset(project)
    first = estimate_new_run(DPOConfig(), dataset=dataset, base=base)
    make_run(project, state="succeeded")
    Run.objects.update(estimate={"uncorrected_s": 10.0})

    assert estimate_new_run(DPOConfig(), dataset=dataset, base=base) == first


def test_pretraining_needs_no_model_to_be_estimated(project):
    dataset = make_dataset(project, kind="text")

    assert estimate_new_run(PretrainConfig(), dataset=dataset, base=None).fits


def test_what_a_run_took_is_told_beside_what_was_thought(project):
    run = make_run(project, state="succeeded", result={"usage": usage()})

    assert describe_usage(run) == "took 1.0 GB and 60 s"
    assert describe_usage(make_run(project, state="running", kind="sft")) == ""
