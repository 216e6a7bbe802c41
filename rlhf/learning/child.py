"""What a forked child of the server does before and after it goes through the door."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rlhf.contract.run_dir import EXIT_FAILED, LOG
from rlhf.learning.door import execute_run
from rlhf.learning.lifetime import die_with_parent


def run_child(run_dir: Path, environment: dict[str, str], *, parent: int, launcher: Sequence[str] = ()) -> NoReturn:
    """Do one run in this process and leave it without the server's own exit handlers.

    Args: launcher: arguments of `accelerate launch`, which then takes this process over and starts the run in several.
    """
    code = EXIT_FAILED
    try:
        os.setpgid(0, 0)
        die_with_parent(parent)
        write_to_log(run_dir)
        apply_environment(environment)
        if launcher:
            become_launcher(run_dir, launcher)
        code = execute_run(run_dir)
    except BaseException:  # noqa: BLE001 -- nothing may unwind into the server's loop, which this process is a copy of
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def become_launcher(run_dir: Path, launcher: Sequence[str]) -> NoReturn:
    """Replace this process by `accelerate launch`: it keeps the pid, the group and the kernel's promise to die in time."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *launcher, "-m", "rlhf.learning", str(run_dir)]
    os.execv(sys.executable, command)  # noqa: S606 -- a list of our own, and no shell is wanted


def write_to_log(run_dir: Path) -> None:
    """Send stdout and stderr, those of C libraries too, to the run's log."""
    log = os.open(run_dir / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(nothing)


def apply_environment(environment: dict[str, str]) -> None:
    """Set the run's environment. OpenMP read its thread count when torch was imported, so that one is told again."""
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        import torch  # noqa: PLC0415 -- already imported by the server; the cold door never comes here

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
