"""SQLite's one writer, and how labelers and an import wait for it.

SQLite itself lets whoever waits sleep ever longer, up to a tenth of a second a time, while others come and go: beside
an import a vote in a hundred waited for seconds. Those who write most wait here first, look often, and are then alone
before the database. Whoever does not know of this place waits as SQLite lets him, and nothing breaks.

Of a process only one thread looks, the others wait for it: all looking at once, the one that came first had no better
chance than the last. An import looks seldom, and so finds the place free where nobody else wants it.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.db import connection, transaction

LOOK_S = 0.002
SELDOM_S = 0.02
PATIENCE_S = 10.0  # then to the database all the same: whoever holds the place may be stopped, or dead asleep
SELDOM_PATIENCE_S = 1.0  # then it looks as often as anybody: there may be somebody there at every moment

_threads = threading.Lock()


@contextmanager
def hold_writer(*, is_patient: bool = False) -> Iterator[None]:
    """Hold a transaction; on SQLite nobody who waits here is in another meanwhile.

    is_patient: whether everybody else may go first, for a while.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    with open(f"{connection.settings_dict['NAME']}-writer", "ab") as place:
        is_first = _threads.acquire(timeout=PATIENCE_S)
        try:
            if is_first:
                wait_for(place, is_patient=is_patient)
            with transaction.atomic():
                yield
        finally:
            fcntl.flock(place, fcntl.LOCK_UN)
            if is_first:
                _threads.release()


def wait_for(place: IO[bytes], *, is_patient: bool) -> None:
    """Lock a file until it is closed; give up after PATIENCE_S."""
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < PATIENCE_S:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(SELDOM_S if is_patient and waited_s < SELDOM_PATIENCE_S else LOOK_S)
        else:
            return
