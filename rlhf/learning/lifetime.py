"""What a learning process owes its host: to die with its parent, to stay offline, to wait without burning the CPU, and to
keep the memory it will need again."""

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
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking whether there is a GPU must not open it: a fork would inherit that
    # A thread that waits for its siblings sleeps. By default it spins, and one busy neighbour on a small machine then makes
    # every matrix product wait for a whole time slice: a step took 20 times as long on two shared cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TQDM_DISABLE": "1",  # progress goes to progress.json; bars would fill the log
}
# Of glibc, which reads it as a process begins. What a step gives up the next one needs again: by default it goes back to the
# kernel, which clears it anew page by page, a quarter of a million pages in a rollout of PPO that takes 20 seconds. Kept, and
# in pages of 2 MB where the kernel has them, a rollout takes a seventh less CPU.
TUNABLES = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.hugetlb=1"


def keep_memory() -> None:
    """Begin this process anew, on Linux, so that it keeps freed memory; not where its environment tells glibc what to do."""
    if sys.platform.startswith("linux") and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 -- itself


def die_with_parent(expected_parent: int) -> None:
    """Have the kernel kill this process (SIGKILL) when its parent ends, however that happens. Does nothing but on Linux.

    Args:
        expected_parent: the pid that started this process, read before it could have died.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before prctl was called: then nobody will ever send the signal.
    if os.getppid() != expected_parent:
        os.kill(os.getpid(), signal.SIGKILL)


def prepare_environment() -> None:
    """Set what the libraries read when they are imported, so this comes before their import. Names already set stay."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
