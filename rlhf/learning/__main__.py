"""`python -m rlhf.learning RUN_DIR` does one run; `python -m rlhf.learning --serve SOCKET` keeps a warm fork server."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rlhf.contract.run_dir import EXIT_DONE
from rlhf.learning.door import execute_run
from rlhf.learning.lifetime import die_with_parent, keep_memory, prepare_environment
from rlhf.learning.processes import leave_processes


def main() -> int:
    """Parse the command line, go through the door and return the process's exit code."""
    keep_memory()
    parent = os.getppid()
    arguments = parse_arguments()
    die_with_parent(parent)
    prepare_environment()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if arguments.serve is not None:
        from rlhf.learning.server import serve  # noqa: PLC0415 -- imports torch and trl, which one run may not need

        return serve(arguments.serve)
    code = execute_run(arguments.run_dir.resolve())
    if code == EXIT_DONE:
        leave_processes()  # after a failure they may never answer
    return code


def parse_arguments() -> argparse.Namespace:
    """Return the namespace with exactly one of run_dir and serve."""
    parser = argparse.ArgumentParser(prog="python -m rlhf.learning", description=__doc__)
    door = parser.add_mutually_exclusive_group(required=True)
    door.add_argument("run_dir", nargs="?", type=Path, help="a run directory with config.json and data/")
    door.add_argument("--serve", type=Path, metavar="SOCKET", help="preload the libraries and fork one child per run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
