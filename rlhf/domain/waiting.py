"""Wait for a run or a round from a command, saying what happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from rlhf.domain.errors import LearningError
from rlhf.models import Round, Run

POLL_S = 0.2
# A queued run that nobody takes for this long is worth a word: the workers may not be running.
IMPATIENT_S = 15.0


def wait_for_run(run: Run, say: Callable[[str], None]) -> Run:
    """Return the run once it is over. Raises: LearningError when it did not succeed."""
    said, queued_s, is_warned = "", time.monotonic(), False
    while not run.is_over:
        time.sleep(POLL_S)
        run.refresh_from_db()
        line = describe_progress(run)
        if line != said:
            say(line)
            said = line
        if run.state == Run.State.QUEUED and time.monotonic() - queued_s > IMPATIENT_S and not is_warned:
            say(f"{run} still waits for a learning worker: is `manage.py up` running?")
            is_warned = True
    if run.state != Run.State.SUCCEEDED:
        raise LearningError(f"{run} {run.state}: {run.cause}" if run.cause else f"{run} {run.state}")
    return run


def describe_progress(run: Run) -> str:
    """Say how far a run is, in tenths, so that a log stays short."""
    if run.is_over or not run.total_steps:
        return f"{run}: {run.state}"
    tenth = 10 * (10 * run.step // run.total_steps)
    return f"{run}: {run.stage or run.state}, {tenth}%"


def wait_for_round(round: Round, say: Callable[[str], None]) -> Round:
    """Return the round once it is over. Raises: LearningError when it did not succeed."""
    seen: set[int] = set()
    while round.state == Round.State.RUNNING:
        run = round.runs.order_by("-id").first()
        if run is None or run.pk in seen:
            time.sleep(POLL_S)
        else:
            seen.add(run.pk)
            try:
                wait_for_run(run, say)
            except LearningError:
                pass  # the round says why below
        round.refresh_from_db()
    if round.state != Round.State.SUCCEEDED:
        raise LearningError(f"{round} failed: {round.cause}")
    return round
