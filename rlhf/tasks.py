"""Celery's doorbells: each takes an id, calls one domain function and is safe to run twice."""

from __future__ import annotations

import mmap
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutting_down

from config.celery import app
from labeling.domain.doorbell import ring
from rlhf.domain import custody, execution, exporting, listening, loop, rounds, runs
from rlhf.domain.launching import LearningServer

learning_server = LearningServer()
# One byte that the worker's parent process and its pool child share: the child runs for hours inside a task, where
# Celery's warm shutdown does not reach it.
shutdown_flag = mmap.mmap(-1, 1)


def is_stopping() -> bool:
    return shutdown_flag[0] != 0


@app.task(name="rlhf.execute_run")
def execute_run(pk: int) -> None:
    run = execution.execute_run(pk, server=learning_server, is_stopping=is_stopping)
    if run is not None and run.is_over and run.round_id:
        ring("rlhf.advance_round", run.round_id)
    if run is not None and not is_stopping():
        runs.ring_next()


@app.task(name="rlhf.advance_round")
def advance_round(pk: int) -> None:
    rounds.advance_round(pk)


@app.task(name="rlhf.advance_loop")
def advance_loop(pk: int) -> None:
    loop.advance_loop(pk)


@app.task(name="rlhf.write_export")
def write_export(pk: int) -> None:
    exporting.write_export(pk)


@app.task(name="rlhf.sweep")
def sweep() -> None:
    runs.sweep_runs()
    listening.sweep_loops()
    exporting.sweep_exports()


@worker_process_init.connect
def take_over(**_: Any) -> None:
    """Let the learning worker load torch before a run asks for it, and take up what one before it was killed over."""
    if "learning" in (app.amqp.queues.consume_from or {}):
        learning_server.start()
        custody.release_orphans()


@worker_ready.connect
def sweep_at_start(**_: Any) -> None:
    """What was left by a stopped machine is taken up at once, not at the scheduler's first tick."""
    sweep.delay()


@worker_shutting_down.connect
def tell_pool(**_: Any) -> None:
    shutdown_flag[0] = 1


@worker_process_shutdown.connect
def stop_server(**_: Any) -> None:
    learning_server.stop()
