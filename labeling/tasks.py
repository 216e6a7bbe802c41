"""Celery's doorbells of labeling: each takes an id, calls one domain function and is safe to run twice."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from config.celery import app
from labeling.domain.intake import checking, committing, holding


@app.task(name="labeling.check_import")
def check_import(pk: int) -> None:
    checking.check_import(pk)


@app.task(name="labeling.commit_import")
def commit_import(pk: int) -> None:
    committing.commit_import(pk)


@app.task(name="labeling.sweep")
def sweep() -> None:
    holding.sweep_imports()


@worker_ready.connect
def sweep_at_start(**_: Any) -> None:
    """What a stopped machine left is taken up at once, not at the scheduler's first tick."""
    sweep.delay()
