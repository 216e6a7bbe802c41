"""What a learning process owes to the process that started it: to die with it, to stay offline, to log quietly."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",  # progress goes to progress.json; bars would fill the log
}


def die_with_parent(expected_parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when its parent ends, however that ends. Linux only, elsewhere nothing.

    Args:
        expected_parent: the pid that started this process, read before it could have died.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before prctl was called: then nobody will ever send the signal.
    if os.getppid() != expected_parent:
        os.kill(os.getpid(), signal.SIGKILL)


def stay_offline() -> None:
    """Forbid the Hugging Face libraries network, threads and progress bars, unless the environment says otherwise.

    They read these names when they are imported, so this comes before their import.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
