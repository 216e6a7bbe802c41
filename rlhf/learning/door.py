"""The one door of learning: a run directory goes in, result.json and an exit code come out."""

from __future__ import annotations

import errno
import importlib
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from rlhf.contract.config import SHARED_KINDS, TRAINING_KINDS
from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import EXIT_DONE, EXIT_FAILED, EXIT_HANDED_BACK, RESULT, read_config, write_result
from rlhf.contract.settings import RunConfig
from rlhf.learning.model_card import add_card
from rlhf.learning.processes import is_first_process, join_processes, require_shardable, wait_for_all, work_alone
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.stops import StopError
from rlhf.learning.usage import measure_usage

# kind -> the module whose train(config, run_dir) does it. Imported one by one: trl alone costs seconds.
METHODS = {
    "pretrain": "rlhf.learning.pretrain",
    "sft": "rlhf.learning.sft",
    "reward": "rlhf.learning.reward_model",
    "dpo": "rlhf.learning.dpo",
    "kto": "rlhf.learning.kto",
    "ppo": "rlhf.learning.ppo",
    "grpo": "rlhf.learning.grpo",
    "merge": "rlhf.learning.merging",
    "sample": "rlhf.learning.sampling",
    "evaluate": "rlhf.learning.evaluation",
    "score": "rlhf.learning.sample_scores",
    "feedback": "rlhf.learning.feedback",
}
# What a full disk is called: by the system, and by torch's writer, which finds fewer bytes in its file than it gave it.
DISK_FULL = ("no space left on device", "inline_container.cc", "iostream error")


def execute_run(run_dir: Path) -> int:
    """Do what the run's config.json says and write result.json. Of several processes, each is called with the same folder.

    Args:
        run_dir: a directory that `prepare_run_dir` made.
    Returns: EXIT_DONE, EXIT_FAILED, or EXIT_HANDED_BACK (no result.json: the run is not over).
    """
    install_stop_signal()
    started_s = time.monotonic()
    # A result left by an earlier attempt would speak for this one.
    if is_first_process():
        (run_dir / RESULT).unlink(missing_ok=True)
    try:
        config = read_config(run_dir)
        metrics = train_together(config, run_dir)
        if is_first_process() and config.kind in TRAINING_KINDS:
            add_card(run_dir, config, metrics)
    except HandedBack as stop:
        print(f"handed back: {stop}", file=sys.stderr, flush=True)
        return EXIT_HANDED_BACK
    except Exception as error:  # noqa: BLE001 -- the last line of a worker: the run must carry its cause, whatever it is
        traceback.print_exc()
        record_failure(run_dir, describe_failure(error), usage=measure_usage(started_s))
        return EXIT_FAILED
    if is_first_process():
        write_result(run_dir, succeeded=True, metrics=metrics, usage=measure_usage(started_s))
    return EXIT_DONE


def train_together(config: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Return the final metrics of the run, in which as many processes take part as were launched and can."""
    if config.kind not in SHARED_KINDS:
        if not is_first_process():
            return {}
        work_alone()
    require_shardable(
        config.kind,
        has_adapters=bool(getattr(config, "lora_rank", 0)),
        in_parts=bool(getattr(config, "micro_batch_tokens", 0)),
    )
    join_processes()
    metrics = train(config, run_dir)
    wait_for_all()
    return metrics


def train(config: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Return the final metrics of the run. Only the module of its kind is imported."""
    module = importlib.import_module(METHODS[config.kind])
    metrics: dict[str, Any] = module.train(config, run_dir)
    return metrics


def record_failure(run_dir: Path, cause: str, *, usage: dict[str, Any]) -> None:
    """Write the failed result. On a full disk it may be impossible: then the exit code and the log must do.

    Of several processes the first one's word stands: what the others then fail of is often that it has gone.
    """
    if not is_first_process() and (run_dir / RESULT).exists():
        return
    try:
        write_result(run_dir, succeeded=False, cause=cause, usage=usage)
    except OSError as error:
        print(f"result.json could not be written: {error}", file=sys.stderr, flush=True)


def describe_failure(error: Exception) -> str:
    """Return one line for people: what happened and what to do about it."""
    message = " ".join(str(error).split())
    if isinstance(error, (ContractError, StopError)):
        return message
    if (
        isinstance(error, MemoryError)
        or "out of memory" in message.lower()
        or "can't allocate memory" in message.lower()
    ):
        return f"out of memory: lower batch_size or max_length, or use a smaller model ({message or 'MemoryError'})"
    if getattr(error, "errno", None) == errno.ENOSPC or any(words in message.lower() for words in DISK_FULL):
        return f"disk full: free space where the run directory is, then retry ({message})"
    if isinstance(error, ModuleNotFoundError):
        return f"{message}: install requirements.txt on the learning host"
    name = type(error).__name__
    return f"{name}: {message}" if message else name
