"""Celery's messages are doorbells: a row says what is to be done, a message only rings for it, and a sweeper rings again."""

from __future__ import annotations

import logging
import threading

from kombu.exceptions import KombuError

from config.celery import app

logger = logging.getLogger(__name__)

# The sweepers' period; what they ring for expires by their next turn, so that long work does not pile up messages.
SWEEP_S = 30.0


def ring(task: str, pk: int) -> None:
    """Send a task its row's id without waiting: a broker that is down or mute costs nothing, the sweeper rings again."""
    threading.Thread(target=send_message, args=(task, pk), name=f"ring {task} {pk}").start()


def send_message(task: str, pk: int, *, expires_s: float | None = None) -> None:
    """Publish one message; a broker that is not there is a line in the log."""
    try:
        app.send_task(task, args=[pk], ignore_result=True, expires=expires_s)
    except (KombuError, OSError) as error:
        logger.warning("the broker did not take %s(%s): %s; the sweeper rings again", task, pk, error)
