"""How much of a file is stored at a time: SQLite has one writer, and labelers wait behind it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from django.db import connection

from labeling.domain.intake.staging import CHUNK
from labeling.writer import hold_writer

T = TypeVar("T")

HELD_S = 0.04  # so long a transaction may keep SQLite's only lock
LEAST, FIRST = 20, 50  # rows
GAP_S = 0.01  # who waits looks for the lock every few milliseconds, so this is enough to be heard of
SHARED_S = 5.0  # so long after somebody else wrote two thirds of the time are left to others


class Pace:
    """Makes each transaction about as long as HELD_S allows, and rests after it so that whoever waits comes in.

    PostgreSQL locks rows, not the database: there a transaction has CHUNK rows, and nobody rests.
    """

    def __init__(self) -> None:
        self.has_one_writer = connection.vendor == "sqlite"
        self.n_rows = FIRST if self.has_one_writer else CHUNK
        self._version = self._read_version()
        self._shared_until_s = 0.0

    def cut(self, values: Iterable[T]) -> Iterator[list[T]]:
        """Yield the values in lists of as many as may be stored at a time now."""
        waiting = iter(values)
        while chunk := list(islice(waiting, self.n_rows)):
            yield chunk

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a transaction, and rest after it."""
        with hold_writer(is_patient=True):
            began_s = time.monotonic()
            yield
        held_s = time.monotonic() - began_s
        if self.has_one_writer:
            self.n_rows = size_chunk(self.n_rows, held_s)
            time.sleep(max(GAP_S, 2 * held_s if self._is_shared() else 0.0))

    def _is_shared(self) -> bool:
        """Say whether somebody else wrote into the database lately."""
        version = self._read_version()
        if version != self._version:
            self._version, self._shared_until_s = version, time.monotonic() + SHARED_S
        return time.monotonic() < self._shared_until_s

    def _read_version(self) -> int:
        """Return what SQLite changes whenever another connection has written."""
        if not self.has_one_writer:
            return 0
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])


def size_chunk(n_rows: int, held_s: float) -> int:
    """Return how many rows to store next where so many held the lock so long; at most twice as many."""
    wanted = n_rows * HELD_S / max(held_s, HELD_S / 2)
    return max(LEAST, min(CHUNK, round(wanted)))
