"""How a loop tells the outside where it is, and how the outside asks it to stop."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from types import FrameType

from rlhf.contract.run_dir import append_metrics, write_progress

PROGRESS_INTERVAL_S = 0.25
# A value that must be finite for the run to go on; others (a ratio of nothing, say) may be NaN and are left out.
VITAL_METRICS = ("loss", "grad_norm")

_stop_requested = False


class NonFiniteError(RuntimeError):
    """A loss or gradient norm is not a number: the run has failed and nothing of it may be published."""


class HandedBack(RuntimeError):
    """The loop stopped because it was asked to; what it saved lets the run be taken up again."""


def install_stop_signal() -> None:
    """Make SIGTERM a request that the loops answer between two steps. Only the door calls this."""
    signal.signal(signal.SIGTERM, _request_stop)


def _request_stop(signal_number: int, frame: FrameType | None) -> None:
    global _stop_requested
    _stop_requested = True


class Reporter:
    """Writes a run's progress and metrics.

    Args:
        run_dir: the run directory.
        stage: what is being done, a short phrase for people.
        total_steps: how many steps the loop will make.
    """

    def __init__(self, run_dir: Path, *, stage: str, total_steps: int) -> None:
        self.run_dir = run_dir
        self.stage = stage
        self.total_steps = total_steps
        self._first: tuple[int, float] | None = None  # the step and time this process began at, resumed ones included
        self._written_at = -math.inf

    @property
    def stop_requested(self) -> bool:
        """True once SIGTERM has arrived: save what is cheap to save and raise HandedBack."""
        return _stop_requested

    def step(self, step: int) -> None:
        """Write progress.json after `step` steps, at most four times a second, and always at the last one."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
        if now - self._written_at < PROGRESS_INTERVAL_S and step < self.total_steps:
            return
        self._written_at = now
        write_progress(self.run_dir, stage=self.stage, step=step, total_steps=self.total_steps, eta_s=self._eta_s(step, now))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append one line of metrics. Raises: NonFiniteError naming the step when the loss or gradient norm is not finite."""
        for name in VITAL_METRICS:
            if name in values and not math.isfinite(values[name]):
                raise NonFiniteError(f"{name} is {values[name]} at step {step}; lower the learning rate or look at the data")
        append_metrics(self.run_dir, step, {name: value for name, value in values.items() if math.isfinite(value)})

    def _eta_s(self, step: int, now: float) -> float | None:
        first_step, first_at = self._first or (step, now)
        if step <= first_step:
            return None
        return round((now - first_at) / (step - first_step) * max(self.total_steps - step, 0), 1)
