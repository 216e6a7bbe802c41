"""The lease of a worker that was killed ends at once where its host can see that it is dead."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from labeling.models import Project
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.domain import custody, runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.custody import keep_custody, release_orphans
from rlhf.models import Run

pytestmark = pytest.mark.django_db

HOLD = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"


@pytest.fixture
def run():
    """A run that a worker has claimed, and holds."""
    project = Project.objects.create(slug="tiny", name="Tiny")
    return runs.claim_run(runs.create_run(project, PretrainConfig()).pk)


@pytest.fixture
def worker(run):
    """A process that holds the run's lock and is killed with -9 when the test says so."""
    with keep_custody(run):
        pass
    path = str(run_folder(run) / custody.NAME)
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def kill(worker):
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()


def test_the_run_of_a_killed_worker_may_be_claimed_at_once(run, worker):
    kill(worker)

    assert release_orphans() == [run]
    assert runs.claim_run(run.pk).attempt == 2


def test_the_run_of_a_worker_that_lives_stays_its_own(run, worker):
    assert release_orphans() == []
    assert runs.claim_run(run.pk) is None


def test_another_host_s_worker_is_believed_until_its_lease_runs_out(run, worker, monkeypatch):
    kill(worker)
    monkeypatch.setattr(custody.socket, "gethostname", lambda: "elsewhere")

    assert release_orphans() == []
    assert runs.claim_run(run.pk) is None


def test_an_attempt_that_has_not_taken_the_lock_yet_is_not_the_dead_one_s(run, worker):
    kill(worker)
    Run.objects.update(attempt=2)

    assert release_orphans() == []


def test_a_worker_that_finds_the_lock_taken_goes_on_without_it(run, worker):
    Run.objects.update(attempt=2)
    run.refresh_from_db()

    with keep_custody(run):
        kill(worker)
        assert release_orphans() == []


def test_a_disk_without_locks_keeps_no_worker_from_its_run(run, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(custody.fcntl, "flock", refuse)

    with keep_custody(run):
        assert release_orphans() == []
