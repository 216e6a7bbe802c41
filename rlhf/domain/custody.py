"""Whether the worker that claimed a run still lives, as this host's kernel knows: a lock that goes when its process does.

A lease alone says so a minute late. A file in the run's folder names the host and the attempt, and the worker holds a lock
on it for as long as it sees to the run. The worker that is started in a dead one's place finds the lock free, and gives
up the lease in its name. What another host holds is left alone: there the lease decides, as it does on disks without locks.
"""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from django.db.models.functions import Now

from labeling.domain.doorbell import ring
from rlhf.domain.checkpoints import run_folder
from rlhf.models import Run

NAME = "worker.lock"


@contextmanager
def keep_custody(run: Run) -> Iterator[None]:
    """Hold the lock of a claimed run while its worker sees to it; where an earlier one has not let go yet, do without.

    So where the folder cannot be written: who lays the run's files into it says why.
    """
    folder = run_folder(run)
    with ExitStack() as held:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / NAME).open("ab", buffering=0))
            if is_free(file):
                file.truncate(0)
                file.write(describe_claim(run).encode())
        yield


def release_orphans() -> list[Run]:
    """Give up the leases of this host's dead workers and ring for their runs, each time one is started; return the runs."""
    orphans = [run for run in Run.objects.filter(state=Run.State.RUNNING) if give_up(run)]
    for run in orphans:
        ring("rlhf.execute_run", run.pk)
    return orphans


def give_up(run: Run) -> bool:
    """Let the lease of a run end now if the worker that claimed this very attempt was here and has died."""
    path: Path = run_folder(run) / NAME
    if not path.exists():
        return False
    with path.open("r+", encoding="utf-8") as file:
        if not is_free(file) or file.read() != describe_claim(run):
            return False
        return bool(Run.objects.held(run.attempt).filter(pk=run.pk).update(lease_until=Now()))


def is_free(file: IO[Any]) -> bool:
    """Take the lock of an open file if nobody has it, and say whether that was so; it goes when the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another has it, or the disk knows no locks
        return False
    return True


def describe_claim(run: Run) -> str:
    """Say who has claimed a run: this host, at this attempt."""
    return f"{socket.gethostname()} attempt {run.attempt}\n"
