import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.run_dir import EXIT_DONE, EXIT_FAILED, prepare_run_dir, read_result
from rlhf.learning.door import describe_failure, execute_run
from rlhf.learning.lifetime import TUNABLES
from rlhf.learning.stops import NonFiniteError
from tests.rlhf.learning.conftest import write_pairs

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ContractError("train.jsonl lacks rows"), "train.jsonl lacks rows"),
        (MemoryError(), "out of memory: lower batch_size or max_length, or use a smaller model (MemoryError)"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator:\n can't allocate memory: you tried 8 bytes"),
            "out of memory: lower batch_size or max_length, or use a smaller model "
            "([enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes)",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "disk full: free space where the run directory is, then retry ([Errno 28] No space left on device)",
        ),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "disk full: free space where the run directory is, then retry "
            "(I/O error: No space left on device (os error 28))",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
            "disk full: free space where the run directory is, then retry "
            "([enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0)",
        ),
        (NonFiniteError("non-finite loss at step 3"), "non-finite loss at step 3"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_cause_is_one_line_that_says_what_to_do(error: Exception, cause: str):
    assert describe_failure(error) == cause


def test_a_run_that_cannot_start_says_why_in_its_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    prepare_run_dir(tmp_path, RewardConfig(base_model="no/such/folder"))

    code = execute_run(tmp_path)

    result = read_result(tmp_path)
    usage = result.pop("usage")
    assert code == EXIT_FAILED
    assert usage.keys() == {"seconds", "peak_memory_bytes", "total_memory_bytes", "host"}
    assert result == {
        "succeeded": False,
        "metrics": {},
        "cause": f"{tmp_path / 'data'} lacks train.jsonl, test.jsonl, which a reward run needs",
    }
    assert "Traceback" in capfd.readouterr().err


def test_a_base_model_that_is_not_there_is_named(tmp_path: Path):
    prepare_run_dir(tmp_path, RewardConfig(base_model="no/such/folder"))
    write_pairs(tmp_path, n_train=4, n_test=4)

    execute_run(tmp_path)

    assert read_result(tmp_path)["cause"] == "'no/such/folder' is not a model folder: it has no config.json"


def test_a_result_of_an_earlier_attempt_does_not_speak_for_this_one(tmp_path: Path):
    prepare_run_dir(tmp_path, EvaluateConfig(base_model="no/such/folder"))
    (tmp_path / "result.json").write_text('{"succeeded": true, "metrics": {}, "cause": ""}')

    execute_run(tmp_path)

    assert read_result(tmp_path)["succeeded"] is False


def run_cold(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "rlhf.learning", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_the_command_does_one_run_and_imports_what_its_kind_needs(tiny_policy: Path, tmp_path: Path):
    config = EvaluateConfig(base_model=str(tiny_policy), reference_model=str(tiny_policy))
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=1, n_test=6)

    done = run_cold(str(tmp_path), python=("-X", "importtime"))

    assert done.returncode == EXIT_DONE, done.stderr[-3000:]
    assert read_result(tmp_path)["metrics"]["eval_rewards/accuracies"] == 0.5
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"trl", "datasets", "torch"} & imported == {"torch"}  # those of the kind alone


def test_the_command_wants_a_run_or_a_socket():
    assert run_cold().returncode == 2


def test_a_process_dies_with_its_parent():
    program = (
        "import os, subprocess, sys\n"
        "code = 'import os, sys, time; from rlhf.learning.lifetime import die_with_parent;"
        " die_with_parent(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code, str(os.getpid())], stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    parent = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    pid = int(parent.stdout)
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_a_process_whose_parent_is_already_gone_ends_at_once():
    program = "from rlhf.learning.lifetime import die_with_parent; die_with_parent(1234567); print('alive')"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (-9, "")


@pytest.mark.parametrize("said", [None, "glibc.malloc.check=0"], ids=["silent", "with a word of its own"])
def test_a_process_begins_anew_to_keep_its_memory_unless_its_environment_says_how(said: str | None):
    program = (
        "import os, sys; from rlhf.learning.lifetime import keep_memory; print(os.getpid(), sys.argv[1:], flush=True);"
        " keep_memory(); print(os.environ['GLIBC_TUNABLES'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment |= {"GLIBC_TUNABLES": said} if said else {}

    done = subprocess.run(
        [sys.executable, "-c", program, "run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    *began, tunables = done.stdout.splitlines()
    assert len(set(began)) == 1
    assert began[0].endswith("['run']")
    assert (len(began), tunables) == ((1, said) if said else (2, TUNABLES))


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
