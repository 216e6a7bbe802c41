"""`go_through_door` under FSDP on CPUs: accelerate takes processes without a GPU for ones that cannot cut a model up.

torch can, over gloo. So accelerate is told that these are GPUs whose device is the CPU; all else is what runs on GPUs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rlhf.learning.door import execute_run
from rlhf.learning.lifetime import prepare_environment
from rlhf.learning.processes import leave_processes

if __name__ == "__main__":
    prepare_environment()
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda self, *args: ("gloo", DistributedType.MULTI_GPU)
    codes = [execute_run(Path(run_dir)) for run_dir in sys.argv[1:]]
    leave_processes()
    sys.exit(max(codes))
