"""The worker's side of a run, with a real fork server and real learning processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from labeling.models import Project
from rlhf.contract import run_dir as seam
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.domain import runs
from rlhf.domain.checkpoints import open_checkpoint, run_folder
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.devices import has_room
from rlhf.domain.errors import ModelRefused
from rlhf.domain.execution import execute_run
from rlhf.domain.launching import LearningServer
from rlhf.models import Checkpoint, Run

pytestmark = [pytest.mark.django_db, pytest.mark.full, pytest.mark.faults]

TINY = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 16,
    "n_layers": 1,
    "n_heads": 2,
    "max_length": 16,
    "batch_size": 2,
    "logging_steps": 1,
    "save_steps": 5,
}


@pytest.fixture
def project():
    return Project.objects.create(slug="tiny", name="Tiny")


@pytest.fixture
def text(project):
    rows = [{"text": f"The cat number {number} sat on the mat and looked at the moon."} for number in range(40)]
    return freeze_rows(project, kind="text", name="tiny", train=rows, test=rows[:2], rule={})


@pytest.fixture
def long_run(project, text):
    return runs.create_run(project, PretrainConfig(**TINY, max_steps=100_000), dataset=text)


def once(action, **which):
    """An is_stopping that acts one time, as soon as the run has logged something, and never asks to stop."""
    done = []

    def is_stopping():
        run = Run.objects.get(**which)
        if not done and run.metrics.exists():
            done.append(action(run))
        return False

    return is_stopping


def never():
    return False


def learning_pids(run):
    """The processes whose command line or working files name the run's folder."""
    folder = str(run_folder(run))
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(link.startswith(folder) for link in links):
            found.append(int(pid))
    return found


def test_a_run_ends_with_its_metrics_and_a_whole_checkpoint(project, text, server):
    run = runs.create_run(project, PretrainConfig(**TINY, max_steps=6), dataset=text)

    done = execute_run(run.pk, server=server, is_stopping=never)

    assert (done.state, done.cause, done.step) == ("succeeded", "", 6)
    assert set(done.metrics.values_list("step", flat=True)) >= {1, 2, 3, 4, 5, 6}
    assert open_checkpoint(done.checkpoint).name == "final"


def test_a_run_has_a_gpu_of_its_own_while_it_learns_and_others_wait(project, text, server, settings):
    settings.LEARNING_DEVICES = ["0"]
    run = runs.create_run(project, PretrainConfig(**TINY, max_steps=100_000), dataset=text)
    other = runs.create_run(project, SFTConfig(), base=None)
    seen = []

    def look(run):
        seen.append((run.devices.get().name, execute_run(other.pk, server=server, is_stopping=never)))
        runs.cancel_run(run)

    is_stopping = once(look, pk=run.pk)
    execute_run(run.pk, server=server, is_stopping=is_stopping)

    other.refresh_from_db()
    assert seen == [("0", None)]
    assert (other.state, other.attempt) == ("queued", 0)
    assert has_room("sft")


def test_a_run_s_process_is_shown_its_own_gpus(server, settings, tmp_path):
    settings.LEARNING_PROCESSES = 2  # accelerate takes the process over: from then on the kernel shows what it was told

    process = server.launch(tmp_path, devices=["1", "GPU-7"], is_unwanted=never)

    told, deadline = b"CUDA_VISIBLE_DEVICES=1,GPU-7", time.monotonic() + 30
    while told not in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") and time.monotonic() < deadline:
        assert process.exit_code is None
        time.sleep(0.05)
    process.stop(0.0)
    assert time.monotonic() < deadline


def test_a_run_of_one_process_is_not_started_by_a_launcher(server, settings, tmp_path):
    settings.LEARNING_PROCESSES = 2

    process = server.launch(tmp_path, in_several=False, is_unwanted=never)

    assert process.wait(60.0) == seam.EXIT_FAILED  # at the door, for there is no run here
    assert "config.json" in (tmp_path / seam.LOG).read_text()
    assert "accelerate" not in (tmp_path / seam.LOG).read_text()


def test_a_run_nobody_may_claim_is_left_alone(long_run, server):
    runs.cancel_run(long_run)

    assert execute_run(long_run.pk, server=server, is_stopping=never) is None


def test_a_worker_that_is_leaving_does_not_take_up_a_run(long_run, server):
    taken = execute_run(long_run.pk, server=server, is_stopping=lambda: True)

    long_run.refresh_from_db()
    assert (taken, long_run.state, long_run.attempt) == (None, "queued", 0)


def test_a_run_whose_process_could_not_be_started_is_tried_again(long_run, server, monkeypatch):
    dead = LearningServer()
    dead.start()
    dead.process.kill()
    dead.process.wait()
    monkeypatch.setattr(dead, "start", lambda: None)

    tried = execute_run(long_run.pk, server=dead, is_stopping=never)

    assert (tried.state, tried.attempt) == ("queued", 1)
    assert "died while it loaded its libraries" in tried.cause


def test_a_run_cancelled_before_its_process_started_is_cancelled(long_run):
    cold = LearningServer()

    def cancel_while_loading():
        if Run.objects.get().state == "running":
            runs.cancel_run(long_run)
        return False

    done = execute_run(long_run.pk, server=cold, is_stopping=cancel_while_loading)
    cold.stop()

    assert (done.state, done.step) == ("cancelled", 0)


def test_a_running_run_is_cancelled_and_its_process_is_gone(long_run, server):
    done = execute_run(long_run.pk, server=server, is_stopping=once(runs.cancel_run))

    assert done.state == "cancelled"
    assert learning_pids(done) == []


def test_a_worker_that_is_told_to_stop_hands_its_run_back_and_the_next_attempt_goes_on(project, text, server):
    run = runs.create_run(project, PretrainConfig(**TINY, max_steps=400), dataset=text)
    handed_back = execute_run(run.pk, server=server, is_stopping=lambda: Run.objects.get().metrics.exists())

    done = execute_run(run.pk, server=server, is_stopping=never)

    assert (handed_back.state, handed_back.handed_back) == ("queued", 1)
    assert (done.state, done.attempt, done.step) == ("succeeded", 2, 400)


def test_a_killed_learning_process_is_tried_again_and_succeeds(project, text, server):
    run = runs.create_run(project, PretrainConfig(**TINY, max_steps=300), dataset=text)

    def kill(run):
        for pid in learning_pids(run):
            os.kill(pid, signal.SIGKILL)

    crashed = execute_run(run.pk, server=server, is_stopping=once(kill))
    done = execute_run(run.pk, server=server, is_stopping=never)

    assert (crashed.state, crashed.stage) == ("queued", "waiting to try again")
    assert crashed.cause.startswith("the learning process was killed by signal 9")
    assert (done.state, done.attempt) == ("succeeded", 2)


def test_a_run_on_rows_it_cannot_read_fails_with_its_cause_and_the_next_one_works(project, text, server):
    broken = freeze_rows(project, kind="text", name="broken", train=[{"words": "no text"}], test=[], rule={})
    failing = runs.create_run(project, PretrainConfig(**TINY, max_steps=3), dataset=broken)
    working = runs.create_run(project, PretrainConfig(**TINY, max_steps=3), dataset=text)

    failed = execute_run(failing.pk, server=server, is_stopping=never)
    done = execute_run(working.pk, server=server, is_stopping=never)

    assert (failed.state, failed.attempt) == ("failed", 1)
    assert "text" in failed.cause
    assert done.state == "succeeded"


def test_a_dataset_whose_bytes_changed_is_not_trained_on(project, server):
    # A dataset of its own: stored bytes are shared by all datasets that hash to them.
    spoilt = freeze_rows(project, kind="text", name="spoilt", train=[{"text": "spoilt"}], test=[], rule={})
    path = Path(default_storage.path(spoilt.file_name("train")))
    path.chmod(0o600)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    run = runs.create_run(project, PretrainConfig(**TINY, max_steps=3), dataset=spoilt)

    failed = execute_run(run.pk, server=server, is_stopping=never)

    assert failed.state == "failed"
    assert "does not match its hash any more" in failed.cause


def test_a_base_model_that_was_tampered_with_is_not_loaded(project, text, server):
    base_run = runs.create_run(project, PretrainConfig(**TINY, max_steps=3), dataset=text)
    base = execute_run(base_run.pk, server=server, is_stopping=never).checkpoint
    with (open_checkpoint(base) / "config.json").open("a") as file:
        file.write(" ")
    demonstrations = freeze_rows(
        project,
        kind="demonstration",
        name="d",
        train=[{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}],
        test=[],
        rule={},
    )
    run = runs.create_run(project, SFTConfig(max_steps=1), dataset=demonstrations, base=base)

    failed = execute_run(run.pk, server=server, is_stopping=never)

    assert failed.state == "failed"
    assert "is damaged" in failed.cause
    with pytest.raises(ModelRefused):
        open_checkpoint(Checkpoint.objects.get(pk=base.pk))


def test_a_run_whose_folder_cannot_be_made_fails_with_its_cause(long_run, server):
    run_folder(long_run).parent.mkdir(exist_ok=True)
    run_folder(long_run).write_text("in the way", "utf-8")

    failed = execute_run(long_run.pk, server=server, is_stopping=never)

    assert failed.state == "failed"
    assert "Not a directory" in failed.cause
