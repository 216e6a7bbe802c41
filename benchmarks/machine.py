"""What a benchmark runs on, what that could reach, and where its figures are kept."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
# Operations a second that a chip's makers promise for dense products, bfloat16 and float32 (TF32 is off), by a part of the
# name that CUDA gives it, the longer first. Source: NVIDIA's data sheets, SXM where there are several forms.
PEAK_FLOPS = {
    "H200": (989e12, 67e12),
    "H100 PCIe": (756e12, 51e12),
    "H100": (989e12, 67e12),
    "B200": (2250e12, 75e12),
    "A100": (312e12, 19.5e12),
    "L40S": (362e12, 91.6e12),
    "A10": (125e12, 31.2e12),
    "L4": (121e12, 30.3e12),
}


def choose_device(name: str) -> torch.device:
    """Return the device of a name. Starts this process anew without GPUs where the CPU is to be used in spite of one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no GPU here")
    if name == "cpu" and torch.cuda.is_available():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.execv(sys.executable, [sys.executable, *sys.argv])
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures of a results file belong to."""
    found = {
        "device": name_chip(device),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found |= {"device_memory_bytes": facts.total_memory, "cuda": torch.version.cuda}
    return found


def name_chip(device: torch.device) -> str:
    """Return what the chip calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return the operations a second that the chip is promised to do, None where that is not known."""
    known = next((peaks for part, peaks in PEAK_FLOPS.items() if part in name_chip(device)), None)
    return known[0 if dtype == torch.bfloat16 else 1] if known else None


def forget_peak(device: torch.device) -> None:
    """Let the most memory that was held begin anew: torch's on a GPU, else this process's, where Linux lets it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def read_peak(device: torch.device) -> int:
    """Return the most bytes that were held since `forget_peak`: by torch on a GPU, else by this process, libraries too."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def write_results(
    path: Path | None, device: torch.device, settings: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> None:
    """Write the figures of a benchmark, and what they belong to, into a file, if one was named."""
    if path is None:
        return
    measured_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    found = {"measured_at": measured_at, "command": command, "machine": describe_machine(device)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**found, "settings": settings, "rows": list(rows)}, indent=1) + "\n", "utf-8")
    print(f"written to {path}")
