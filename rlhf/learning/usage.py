"""What a run took: seconds, the most memory it held, and of how much."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any


def measure_usage(started_s: float) -> dict[str, Any]:
    """Return what this process has taken.

    Args: started_s: when the run began, by time.monotonic().
    Returns: seconds; peak_memory_bytes, the largest resident set, libraries included; host and its total_memory_bytes;
        of a run on a GPU also device, peak_device_bytes, total_device_bytes, and what others left of it, free_device_bytes.
    """
    return {
        "seconds": round(time.monotonic() - started_s, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "total_memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "host": platform.node(),
        **describe_device(),
    }


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process. Linux says it in VmHWM, which a fork begins anew."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def describe_device() -> dict[str, Any]:
    """Return the GPU in use and the most memory torch held on it; nothing on a CPU, or where torch was not needed."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    facts = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "device": facts.name,
        "peak_device_bytes": torch.cuda.max_memory_allocated(),
        "free_device_bytes": torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved(),
        "total_device_bytes": facts.total_memory,
    }
