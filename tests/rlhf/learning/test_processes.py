"""Several processes on one run: real ones, started by accelerate, that exchange gradients over gloo."""

from __future__ import annotations

import math
import re
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.records import read_rows, write_rows
from rlhf.contract.run_dir import (
    EXIT_DONE,
    EXIT_FAILED,
    SAMPLES,
    prepare_run_dir,
    read_result,
    tail_metrics,
    verify_sealed,
)
from rlhf.learning.door import execute_run
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.processes import split_batch
from rlhf.learning.scoring import load_reward_model
from tests.rlhf.learning.conftest import write_pairs
from tests.rlhf.learning.tiny_runs import QUESTIONS
from tests.rlhf.learning.two_processes import (
    CRITICS,
    configure,
    run_in_two,
    write_demonstrations,
    write_prompts,
    write_verdicts,
)

# What is trained, and which kind of run that is; head and line: PPO with a critic on a frozen trunk, and on the policy's.
# An epoch of 13 rows ends with a batch that two processes cannot share.
KINDS = {"sft": "sft", "reward": "reward", "packs": "reward", "dpo": "dpo", "kto": "kto"}
KINDS |= dict.fromkeys(CRITICS, "ppo") | {"grpo": "grpo", "rloo": "grpo"}
IN_PARTS = ("sft", "packs", "kto")  # what the two processes learn from in micro-batches, and the one in one piece
BAD_ROWS = (1, 4, 7, 10)


@pytest.fixture(scope="module")
def reward_model(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward-model")
    tokenizer = load_tokenizer(tiny_policy)
    load_reward_model(str(tiny_policy), tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bad_runs(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of which one row, the number, makes the loss no number."""
    home = tmp_path_factory.mktemp("bad")
    tokenizer, model = load_tokenizer(tiny_policy), load_policy(tiny_policy)
    model.get_input_embeddings().weight.data[tokenizer.encode("Z", add_special_tokens=False)] = math.nan
    model.save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    run_dirs = {number: home / str(number) for number in BAD_ROWS}
    for number, run_dir in run_dirs.items():
        prepare_run_dir(run_dir, configure("reward", home / "base", home).replace(save_steps=100))
        write_pairs(run_dir, n_train=13, n_test=4)
        rows = list(read_rows(run_dir / "data" / "train.jsonl"))
        rows[number]["chosen"][0]["content"] += "Z"
        write_rows(run_dir / "data" / "train.jsonl", rows)
    return run_dirs


@pytest.fixture(scope="module")
def homes(
    tiny_policy: Path, reward_model: Path, bad_runs: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Every kind of run, done by one process and by two, which then fail at the bad runs: it takes long to start two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    for home in (alone, together):
        for kind in KINDS:
            parts = {"micro_batch_tokens": 40} if kind in IN_PARTS and home == together else {}
            prepare_run_dir(home / kind, configure(kind, tiny_policy, reward_model).replace(**parts))
            write_pairs(home / kind, n_train=13, n_test=4)
            if kind == "sft" or KINDS[kind] in ("ppo", "grpo"):
                write_demonstrations(home / kind)
                write_prompts(home / kind)
            if kind == "kto":
                write_verdicts(home / kind)
    before = signal.getsignal(signal.SIGTERM)
    for kind in KINDS:
        assert execute_run(alone / kind) == EXIT_DONE
    signal.signal(signal.SIGTERM, before)
    run_in_two(*(together / kind for kind in KINDS), *bad_runs.values(), code=EXIT_FAILED)
    return alone, together


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_learns(kind: str, homes: tuple[Path, Path]):
    logged = [[line["values"] for line in tail_metrics(home / kind, 0)[0]] for home in homes]

    losses = [[values["loss"] for values in lines if "loss" in values] for lines in logged]
    assert len(losses[0]) == (2 if KINDS[kind] in ("ppo", "grpo") else 4)
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    weights = [load_file(home / kind / "checkpoints" / "final" / "model.safetensors") for home in homes]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_two_processes_writes_alone(kind: str, homes: tuple[Path, Path]):
    steps = [[line["step"] for line in tail_metrics(home / kind, 0)[0]] for home in homes]

    assert steps[1] == steps[0]
    verify_sealed(homes[1] / kind / "checkpoints" / "final")
    assert read_result(homes[1] / kind)["succeeded"]
    left = [sorted(path.name for path in (home / kind / "checkpoints").iterdir()) for home in homes]
    assert left[1] == left[0]
    verify_sealed(homes[1] / kind / "checkpoints" / left[0][0])


@pytest.mark.parametrize("kind", ["reward", "packs", "dpo", "kto", "grpo", "rloo"])
def test_two_processes_log_what_one_logs(kind: str, homes: tuple[Path, Path]):
    alone, together = ([line["values"] for line in tail_metrics(home / kind, 0)[0]] for home in homes)

    assert [values.keys() for values in together] == [values.keys() for values in alone]
    for expected, found in zip(alone, together, strict=True):
        for name in expected.keys() - {
            "train_runtime",
            "train_samples_per_second",
            "train_steps_per_second",
            "step_time",
        }:
            # An alarm may cry at the fifth digit: these are floats of sums in another order.
            assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name


def test_what_processes_do_not_share_the_first_one_does(tiny_policy: Path, tmp_path: Path):
    prepare_run_dir(tmp_path, SampleConfig(base_model=str(tiny_policy), n=2, max_new_tokens=4))
    write_prompts(tmp_path)

    run_in_two(tmp_path, meeting=False)

    assert read_result(tmp_path)["succeeded"]
    assert len(list(read_rows(tmp_path / SAMPLES))) == 2 * len(QUESTIONS)


@pytest.mark.parametrize("kind", ["ppo", "head"])
def test_two_processes_share_a_rollout_to_the_digit(kind: str, homes: tuple[Path, Path]):
    alone, together = (
        [line["values"] for line in tail_metrics(home / kind, 0)[0] if "objective/kl" in line["values"]]
        for home in homes
    )

    assert len(alone) == 2
    for expected, found in zip(alone, together, strict=True):
        assert found.keys() == expected.keys()
        for name in expected:
            if not name.startswith("time/") and name != "tokens_per_s":
                assert found[name] == pytest.approx(expected[name], abs=1e-4), name


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize("number", BAD_ROWS)
def test_the_rows_named_are_those_of_the_process_that_saw_what_is_no_number(number: int, bad_runs: dict[int, Path]):
    cause = read_result(bad_runs[number])["cause"]

    found = re.search(r"non-finite loss at step \d \(rows ([\d, ]+) of those learned from", cause)
    assert found, cause
    named = [int(text) for text in found.group(1).split(", ")]
    assert number in named
    assert len(named) <= 2, "half of a batch of four"


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert split_batch(8) == 4
    with pytest.raises(ContractError, match="a multiple of the 2 processes of this run, got 7"):
        split_batch(7)
