"""SQLite's one writer, and how labelers and an import wait for it.

SQLite itself lets whoever waits sleep ever longer, up to a tenth of a second a time, while others come and go: beside
an import a vote in a hundred waited for seconds. Those who write most wait here first, look often, and are then alone
before the database. Whoever does not know of this place waits as SQLite lets him, and nothing breaks.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.db import connection, transaction

LOOK_S = 0.002
PATIENCE_S = 10.0  # then to the database all the same: whoever holds the place may be stopped, or dead asleep


@contextmanager
def hold_writer() -> Iterator[None]:
    """Hold a transaction; on SQLite nobody who waits here is in another meanwhile."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    with open(f"{connection.settings_dict['NAME']}-writer", "ab") as place:
        wait_for(place)
        with transaction.atomic():
            yield


def wait_for(place: IO[bytes]) -> None:
    """Lock a file until it is closed; give up after PATIENCE_S."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_S)
        else:
            return
