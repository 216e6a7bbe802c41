"""What the learning worker does with a run it has claimed: start its process, watch it, record the outcome."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from rlhf.contract import run_dir as seam
from rlhf.contract.config import SHARED_KINDS, TRAINING_KINDS
from rlhf.contract.errors import ContractError
from rlhf.domain import runs
from rlhf.domain.checkpoints import register_final, run_folder
from rlhf.domain.custody import keep_custody
from rlhf.domain.devices import has_room, take_devices
from rlhf.domain.errors import LaunchAbandoned, LaunchFailed, LearningError, LostLease
from rlhf.domain.feedback.asking import record_feedback
from rlhf.domain.feedback.routing import route_answered
from rlhf.domain.labeler_hits import count_by_labeler
from rlhf.domain.launching import LearningProcess, LearningServer, describe_exit, last_words
from rlhf.domain.pair_scores import is_of_pairs, record_pair_scores
from rlhf.domain.provisioning import prepare_folder
from rlhf.domain.sampling import record_samples, record_scores
from rlhf.models import Run

logger = logging.getLogger(__name__)

POLL_S = 0.2
HEARTBEAT_S = 1.0
BEAT_S = 15.0
# How long a process may take to save before it is killed: a cancel shall be over within 10 s, a deploy may save in peace.
CANCEL_GRACE_S = 5.0
HAND_BACK_GRACE_S = 60.0


def execute_run(pk: int, *, server: LearningServer, is_stopping: Callable[[], bool]) -> Run | None:
    """Claim the run and see it through; None when it is someone else's. Leaves it ended, or queued to be taken up again."""
    has_place = any(map(has_room, Run.objects.filter(pk=pk).values_list("kind", flat=True)))
    run = runs.claim_run(pk) if has_place and not is_stopping() else None
    if run is None:
        return None
    with keep_custody(run):
        attempt_run(run, server=server, is_stopping=is_stopping)
    run.refresh_from_db()
    return run


def attempt_run(run: Run, *, server: LearningServer, is_stopping: Callable[[], bool]) -> None:
    """Start a claimed run's process and see it through."""
    devices = take_devices(run)
    if devices is None:  # another worker of this host was faster
        leave(run)
        return
    folder = run_folder(run)
    try:
        with heartbeat(run):
            prepare_folder(run, folder)
            process = server.launch(
                folder,
                devices=devices,
                in_several=run.kind in SHARED_KINDS,
                is_unwanted=lambda: is_stopping() or runs.is_cancel_requested(run),
            )
    except LaunchAbandoned:
        leave(run)
    except LaunchFailed as error:
        runs.requeue_run(run, str(error))
    except (LearningError, ContractError, OSError) as error:
        runs.end_run(run, Run.State.FAILED, cause=str(error))
    else:
        see_through(run, folder, process, is_stopping)


def leave(run: Run) -> None:
    """Let go of a run that has no process: cancelled if that was asked, else back in the queue."""
    if runs.is_cancel_requested(run):
        runs.end_run(run, Run.State.CANCELLED)
    else:
        runs.hand_back_run(run)


def see_through(run: Run, folder: Path, process: LearningProcess, is_stopping: Callable[[], bool]) -> None:
    """Watch the process to its end; whatever happens to the watcher, the process does not outlive it."""
    try:
        watch(run, folder, process, is_stopping)
    except LostLease:
        logger.warning("%s went to another worker; its process here is killed", run)
    except LearningError as error:
        runs.requeue_run(run, str(error))
    finally:
        if process.exit_code is None:
            process.stop(0.0)


@contextmanager
def heartbeat(run: Run) -> Iterator[None]:
    """Renew the lease from a thread while a step takes as long as it takes: hashing a large model, loading libraries."""
    is_done = threading.Event()

    def beat() -> None:
        try:
            while not is_done.wait(BEAT_S):
                runs.renew_lease(run)
        except LostLease:
            logger.warning("%s went to another worker", run)
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat of {run}")
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def watch(run: Run, folder: Path, process: LearningProcess, is_stopping: Callable[[], bool]) -> None:
    """Renew the lease and carry metrics while the process lives, then record how it ended. Raises: LostLease."""
    offset, beat_s, moved_s, progress = 0, 0.0, time.monotonic(), None
    leave_by_s = math.inf
    while process.wait(POLL_S) is None:
        now_s = time.monotonic()
        if is_stopping() and leave_by_s == math.inf:
            process.send_signal(signal.SIGTERM)
            leave_by_s = now_s + HAND_BACK_GRACE_S
        if now_s > leave_by_s:
            process.stop(0.0)
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
        runs.record_alarms(run, seam.read_alarms(folder))
        if now_s - moved_s > settings.LEARNING_STALL_S:
            process.stop(0.0)
            minutes = settings.LEARNING_STALL_S / 60
            runs.requeue_run(
                run, f"no progress for {minutes:.0f} minutes; where a step takes longer, raise LEARNING_STALL_S"
            )
            return
    lines, _ = seam.tail_metrics(folder, offset)
    runs.record_metrics(run, lines)
    runs.record_alarms(run, seam.read_alarms(folder))
    runs.renew_lease(run, progress=seam.read_progress(folder))
    record_outcome(run, folder, process.exit_code, is_leaving=leave_by_s < math.inf)


def record_outcome(run: Run, folder: Path, exit_code: int | None, *, is_leaving: bool) -> None:
    """Turn the process's last word into the run's state; none because we are leaving is not its fault. Raises: LostLease."""
    result = seam.read_result(folder)
    if exit_code == seam.EXIT_DONE and result and result["succeeded"]:
        try:
            publish(run, folder, with_usage(result))
        except (LearningError, ContractError) as error:
            runs.end_run(run, Run.State.FAILED, cause=f"its outcome cannot be used: {error}")
    elif exit_code == seam.EXIT_HANDED_BACK or (is_leaving and result is None):
        runs.hand_back_run(run)
    elif result and not result["succeeded"]:
        runs.end_run(run, Run.State.FAILED, result=with_usage(result), cause=result["cause"])
    else:
        runs.requeue_run(run, f"{describe_exit(exit_code)}{last_words(folder)}")


def with_usage(result: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of a result together with what the run took, for the run's row."""
    return {**result["metrics"], seam.USAGE: result.get(seam.USAGE, {})}


def publish(run: Run, folder: Path, metrics: dict[str, float]) -> None:
    """End the run as succeeded together with what it made: all of it is visible, or nothing."""
    is_training = run.kind in TRAINING_KINDS
    # Hashing a large model takes a while: not inside the transaction.
    with heartbeat(run):
        manifest_sha256 = seam.verify_sealed(folder / seam.CHECKPOINTS / seam.FINAL) if is_training else ""
    with transaction.atomic():
        runs.end_run(run, Run.State.SUCCEEDED, result={**metrics, **count_by_labeler(run, folder)})
        if is_training:
            register_final(run, manifest_sha256)
        elif run.kind == Run.Kind.SAMPLE:
            record_samples(run, folder / seam.SAMPLES)
        elif run.kind == Run.Kind.SCORE and is_of_pairs(run):
            record_pair_scores(run, folder / seam.SCORES)
            route_answered(run)
        elif run.kind == Run.Kind.SCORE:
            record_scores(run, folder / seam.SCORES)
        elif run.kind == Run.Kind.FEEDBACK:
            record_feedback(run, folder / seam.FEEDBACK)
            route_answered(run)
    for checkpoint in (folder / seam.CHECKPOINTS).glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)  # only a resume needs them, and this run is over
