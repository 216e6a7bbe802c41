"""One of several processes that an accelerate launcher started: go through the door with each run directory named."""

from __future__ import annotations

import sys
from pathlib import Path

from rlhf.learning.door import execute_run
from rlhf.learning.lifetime import prepare_environment
from rlhf.learning.processes import leave_processes

if __name__ == "__main__":
    prepare_environment()
    codes = [execute_run(Path(run_dir)) for run_dir in sys.argv[1:]]
    leave_processes()
    sys.exit(max(codes))
