"""Which prompts and pairs a file has brought so far, however many: on the disk, with a bounded part in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

CACHE_KB = 32 * 1024


class Digests:
    """A set of sha256 digests in a file of its own that is gone with the object; a set of Python's takes 130 bytes each."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE digests (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._rows.execute("BEGIN")
        self._n = 0

    def add(self, digest: bytes) -> bool:
        """Keep a digest; False means it was there already."""
        is_new = self._rows.execute("INSERT OR IGNORE INTO digests VALUES (?)", (digest,)).rowcount == 1
        self._n += is_new
        return is_new

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[bytes]:
        """Yield the digests in their order."""
        return (digest for (digest,) in self._rows.execute("SELECT digest FROM digests ORDER BY digest"))
