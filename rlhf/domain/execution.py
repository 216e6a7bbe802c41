"""What the learning worker does with a run it has claimed: prepare the folder, watch the process, record the outcome."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from django.db import transaction

from rlhf.contract import run_dir as seam
from rlhf.contract.config import TRAINING_KINDS, RunConfig
from rlhf.contract.errors import ContractError
from rlhf.domain import runs
from rlhf.domain.checkpoints import open_checkpoint, register_final, run_folder
from rlhf.domain.datasets.shelf import materialize_dataset
from rlhf.domain.errors import LearningError, LostLease
from rlhf.domain.launching import LearningProcess, LearningServer
from rlhf.domain.sampling import record_samples
from rlhf.models import Dataset, Run

logger = logging.getLogger(__name__)

POLL_S = 0.2
HEARTBEAT_S = 1.0
# No progress for this long means that the process hangs, whatever it looks like from outside.
STALL_S = 1800.0
# How long a process may take to save before it is killed: a cancel shall be over within 10 s, a deploy may save in peace.
CANCEL_GRACE_S = 5.0
HAND_BACK_GRACE_S = 60.0


def execute_run(pk: int, *, server: LearningServer, is_stopping: Callable[[], bool]) -> Run | None:
    """Claim the run and see it through; None when someone else has it. Leaves it ended, or queued to be taken up again."""
    run = runs.claim_run(pk)
    if run is None:
        return None
    folder = run_folder(run)
    try:
        prepare_folder(run, folder)
        process = server.launch(folder)
    except (LearningError, ContractError, OSError) as error:
        runs.end_run(run, Run.State.FAILED, cause=str(error))
        return run
    try:
        watch(run, folder, process, is_stopping)
    except LostLease:
        logger.warning("%s went to another worker; its process here is killed", run)
        process.stop(0.0)
    except LearningError as error:
        runs.requeue_run(run, str(error))
    except BaseException:
        process.stop(0.0)
        raise
    run.refresh_from_db()
    return run


def prepare_folder(run: Run, folder: Path) -> None:
    """Write config.json and data/; checkpoints of an earlier attempt stay, so that it resumes."""
    seam.prepare_run_dir(folder, resolve_config(run))
    if run.dataset is not None:
        materialize_dataset(run.dataset, folder / seam.DATA)
        if run.dataset.kind == Dataset.Kind.PROMPT:
            shutil.move(folder / seam.DATA / "train.jsonl", folder / seam.DATA / "prompts.jsonl")
    for name in (seam.METRICS, seam.PROGRESS):
        (folder / name).unlink(missing_ok=True)


def resolve_config(run: Run) -> RunConfig:
    """Return the configuration with the folders of its models on this machine. Raises: ModelRefused."""
    config = run.load_config()
    folders = {}
    if run.base is not None:
        folders["base_model"] = str(open_checkpoint(run.base))
    if run.reward_model is not None:
        folders["reward_model"] = str(open_checkpoint(run.reward_model))
    return config.replace(**folders)


def watch(run: Run, folder: Path, process: LearningProcess, is_stopping: Callable[[], bool]) -> None:
    """Renew the lease and carry metrics while the process lives, then record how it ended. Raises: LostLease."""
    offset, beat_s, moved_s, progress = 0, 0.0, time.monotonic(), None
    while (exit_code := process.wait(POLL_S)) is None:
        now_s = time.monotonic()
        if is_stopping():
            exit_code = process.stop(HAND_BACK_GRACE_S)
            break
        if now_s - beat_s < HEARTBEAT_S:
            continue
        beat_s, previous = now_s, progress
        progress = seam.read_progress(folder)
        moved_s = now_s if progress != previous else moved_s
        if runs.renew_lease(run, progress=progress):
            process.stop(CANCEL_GRACE_S)
            runs.end_run(run, Run.State.CANCELLED)
            return
        lines, offset = seam.tail_metrics(folder, offset)
        runs.record_metrics(run, lines)
        if now_s - moved_s > STALL_S:
            process.stop(0.0)
            runs.requeue_run(run, f"no progress for {STALL_S / 60:.0f} minutes")
            return
    lines, _ = seam.tail_metrics(folder, offset)
    runs.record_metrics(run, lines)
    runs.renew_lease(run, progress=seam.read_progress(folder))
    record_outcome(run, folder, exit_code)


def record_outcome(run: Run, folder: Path, exit_code: int | None) -> None:
    """Turn the process's last word into the run's state. Raises: LostLease."""
    result = seam.read_result(folder)
    if exit_code == seam.EXIT_DONE and result and result["succeeded"]:
        try:
            publish(run, folder, result["metrics"])
        except (LearningError, ContractError) as error:
            runs.end_run(run, Run.State.FAILED, cause=f"its outcome cannot be used: {error}")
    elif exit_code == seam.EXIT_HANDED_BACK:
        runs.hand_back_run(run)
    elif result and not result["succeeded"]:
        runs.end_run(run, Run.State.FAILED, result=result["metrics"], cause=result["cause"])
    else:
        runs.requeue_run(run, f"{describe_exit(exit_code)}{last_words(folder)}")


def publish(run: Run, folder: Path, metrics: dict[str, float]) -> None:
    """End the run as succeeded together with what it made: all of it is visible, or nothing."""
    is_training = run.kind in TRAINING_KINDS
    # Hashing a large model takes a while: not inside the transaction.
    manifest_sha256 = seam.verify_sealed(folder / seam.CHECKPOINTS / seam.FINAL) if is_training else ""
    with transaction.atomic():
        runs.end_run(run, Run.State.SUCCEEDED, result=metrics)
        if is_training:
            register_final(run, manifest_sha256)
        elif run.kind == Run.Kind.SAMPLE:
            record_samples(run, folder / seam.SAMPLES)
    for checkpoint in (folder / seam.CHECKPOINTS).glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)  # only a resume needs them, and this run is over


def describe_exit(exit_code: int | None) -> str:
    """Say in words how a process without a result ended."""
    if exit_code is not None and exit_code < 0:
        hint = " (out of memory?)" if exit_code == -9 else ""
        return f"the learning process was killed by signal {-exit_code}{hint}"
    return f"the learning process ended with code {exit_code} and no result"


def last_words(folder: Path) -> str:
    """Return the end of the log, for the run's page."""
    log = folder / seam.LOG
    if not log.exists():
        return ""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
