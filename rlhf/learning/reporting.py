"""How a learning process tells its worker what happens, and how it is told to stop."""

from __future__ import annotations

import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from rlhf.contract.run_dir import append_metrics, write_progress
from rlhf.learning.processes import any_process, is_first_process
from rlhf.learning.stops import require_finite

PROGRESS_INTERVAL_S = 0.25

# One flag a process, because a signal is delivered to the process.
_stop = threading.Event()


class HandedBack(Exception):
    """The run stopped on request after it saved what it could; it may be taken up again."""


def install_stop_signal() -> None:
    """From now on SIGTERM asks the run to stop at its next step instead of killing it."""
    _stop.clear()
    signal.signal(signal.SIGTERM, _note_stop)


def _note_stop(number: int, frame: FrameType | None) -> None:
    _stop.set()


def stop_requested() -> bool:
    """Return whether SIGTERM has arrived since `install_stop_signal`, at any process of the run: they must ask together."""
    return any_process(_stop.is_set())


class Reporter:
    """Writes progress.json and metrics.jsonl of one run; of several processes the first alone writes.

    Args:
        run_dir: the run's directory.
        stage: a short phrase for people, such as "training the reward model".
        total_steps: steps until the end; 0 while unknown.
        first_step: steps done before, when the run was resumed; the time they took is not in the estimate.
    """

    def __init__(self, run_dir: Path, *, stage: str, total_steps: int, first_step: int = 0) -> None:
        self.run_dir = run_dir
        self.stage = stage
        self.total_steps = total_steps
        self.first_step = first_step
        self._started_s = time.monotonic()
        self._written_s = -math.inf
        self._writes = is_first_process()
        if self._writes:
            write_progress(run_dir, stage=stage, step=first_step, total_steps=total_steps, eta_s=None)

    @property
    def stop_requested(self) -> bool:
        """Whether the worker asked this process to stop."""
        return stop_requested()

    def step(self, step: int) -> None:
        """Tell the reader that `step` steps are done. Written at most four times a second, and always at the end."""
        now_s = time.monotonic()
        if not self._writes or (now_s - self._written_s < PROGRESS_INTERVAL_S and step < self.total_steps):
            return
        self._written_s = now_s
        write_progress(
            self.run_dir,
            stage=self.stage,
            step=step,
            total_steps=self.total_steps,
            eta_s=self._seconds_left(step, now_s),
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append metrics of a step. values: TRL's keys. Raises: NonFiniteError on a non-finite loss or gradient."""
        require_finite(step, values)
        if self._writes:
            append_metrics(self.run_dir, step, {name: value for name, value in values.items() if math.isfinite(value)})

    def _seconds_left(self, step: int, now_s: float) -> float | None:
        done, left = step - self.first_step, self.total_steps - step
        if done <= 0 or self.total_steps <= 0:
            return None
        return round((now_s - self._started_s) / done * left, 1)
