"""A full disk, too little memory, a process that hangs or dies at every attempt: each with real processes.

Every time the run ends with its cause, nothing is published, and the worker does the next run.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labeling.models import Project
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.domain import runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.execution import execute_run
from rlhf.domain.launching import LearningServer
from rlhf.models import Checkpoint, Run
from tests.rlhf.domain.test_execution import TINY, learning_pids, never, once

pytestmark = [pytest.mark.django_db, pytest.mark.full, pytest.mark.faults]


@pytest.fixture
def project():
    return Project.objects.create(slug="tiny", name="Tiny")


@pytest.fixture
def create(project):
    """Return a function that queues a run."""
    rows = [{"text": f"The cat number {number} sat on the mat and looked at the moon."} for number in range(40)]
    text = freeze_rows(project, kind="text", name="tiny", train=rows, test=rows[:2], rule={})
    return lambda **settings: runs.create_run(project, PretrainConfig(**{**TINY, **settings}), dataset=text)


@contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[None]:
    """Put a file system of a few bytes under a folder."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk is a tmpfs, and only root may mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def little_memory(server: LearningServer, *, spare_bytes: int) -> Iterator[None]:
    """Let the processes that the server forks map no more than it has mapped, and a little."""
    server.connect(lambda: False).close()  # its libraries are loaded
    pid = server.process.pid
    mapped = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.prlimit(pid, resource.RLIMIT_AS, (mapped + spare_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


def assert_the_next_run_succeeds(create, server) -> None:
    done = execute_run(create(max_steps=3).pk, server=server, is_stopping=never)

    assert (done.state, done.cause) == ("succeeded", "")


def test_a_full_disk_fails_the_run_with_its_cause_and_the_next_one_works(create, server):
    run = create(max_steps=100, save_steps=2)

    with small_disk(run_folder(run), size_bytes=400_000):
        failed = execute_run(run.pk, server=server, is_stopping=never)
        left = sorted(path.name for path in (run_folder(run) / "checkpoints").iterdir())

    assert (failed.state, failed.attempt) == ("failed", 1)
    assert failed.cause.startswith("disk full: free space where the run directory is, then retry")
    assert all(name.startswith("checkpoint-") for name in left)
    assert not Checkpoint.objects.exists()
    assert_the_next_run_succeeds(create, server)


def test_too_little_memory_fails_the_run_with_its_cause_and_the_next_one_works(create, server):
    run = create(max_steps=3, hidden_size=2048, intermediate_size=8192, n_layers=4)  # a gigabyte of weights

    with little_memory(server, spare_bytes=300 * 2**20):
        failed = execute_run(run.pk, server=server, is_stopping=never)

    assert (failed.state, failed.attempt) == ("failed", 1)
    assert failed.cause.startswith("out of memory: lower batch_size or max_length, or use a smaller model")
    assert not Checkpoint.objects.exists()
    assert_the_next_run_succeeds(create, server)


def test_a_process_that_hangs_is_killed_and_its_run_taken_up_again(create, server, settings):
    run = create(max_steps=300, save_steps=100)
    settings.LEARNING_STALL_S = 2

    def hang(run):
        for pid in learning_pids(run):
            os.kill(pid, signal.SIGSTOP)

    stalled = execute_run(run.pk, server=server, is_stopping=once(hang))
    left = learning_pids(run)
    done = execute_run(run.pk, server=server, is_stopping=never)

    assert (stalled.state, stalled.attempt, left) == ("queued", 1, [])
    assert stalled.cause.startswith("no progress for")
    assert (done.state, done.attempt, done.step) == ("succeeded", 2, 300)


def test_a_process_that_dies_at_every_attempt_is_given_up_and_the_next_run_works(create, server):
    run = create(max_steps=100_000)

    def crash(run):
        for pid in learning_pids(run):
            os.kill(pid, signal.SIGSEGV)

    for _ in range(3):
        failed = execute_run(run.pk, server=server, is_stopping=once(crash))
        Run.objects.get().metrics.all().delete()  # so that the next attempt is seen to have logged something

    assert (failed.state, failed.attempt) == ("failed", 3)
    assert failed.cause.startswith("the learning process was killed by signal 11")
    assert failed.cause.endswith("gave up after 3 attempts")
    assert execute_run(run.pk, server=server, is_stopping=never) is None
    assert_the_next_run_succeeds(create, server)
