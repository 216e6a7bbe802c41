"""Statements PostgreSQL has prepared, run through libpq alone.

The driver's cursor waits for an answer in Python. Woken for it with cold caches, a statement took 145 us of it, and 35
where libpq waits. It is the driver's own door to libpq (psycopg.pq), and values are still the driver's to translate. The
server infers of which types they are, so a statement is prepared once whatever it is given.

Behind pgbouncer this takes its release 1.21.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from psycopg import Connection, OperationalError
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

Rows = list[tuple[Any, ...]]


class Prepared:
    """What one connection has prepared: its statements by their text, and the translator of values."""

    def __init__(self, raw: Connection) -> None:
        self.transformer = Transformer(raw)
        self.names: dict[str, bytes] = {}

    def name(self, pgconn: PGconn, sql: str) -> bytes:
        """Return the name of a statement written with %s, prepared now if it never was."""
        if sql not in self.names:
            name = f"house_{len(self.names)}".encode()
            check(pgconn, pgconn.prepare(name, number_places(sql).encode()))
            self.names[sql] = name
        return self.names[sql]


def run_prepared(raw: Connection, sql: str, values: Sequence[Any]) -> tuple[Rows, int]:
    """Run a statement and return its rows, and how many rows it met. Raises: the driver's errors.

    Like the driver's cursor it begins a transaction where the connection does not commit by itself.
    """
    pgconn = raw.pgconn
    if not raw.autocommit and pgconn.transaction_status == TransactionStatus.IDLE:
        command(raw, b"BEGIN")
    prepared: Prepared = vars(raw).get("prepared") or vars(raw).setdefault("prepared", Prepared(raw))
    transformer = prepared.transformer
    name = prepared.name(pgconn, sql)
    given = transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
    result = check(pgconn, pgconn.exec_prepared(name, given))
    transformer.set_pgresult(result)
    return cast(Rows, transformer.load_rows(0, result.ntuples, tuple)), result.command_tuples or 0


def command(raw: Connection, text: bytes) -> None:
    """Run what takes no values and returns no rows."""
    check(raw.pgconn, raw.pgconn.exec_(text))


def check(pgconn: PGconn, result: PGresult) -> PGresult:
    """Return a result that is one. Raises: OperationalError if the connection is gone, else what the server refused."""
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if pgconn.status == ConnStatus.BAD:
        raise OperationalError(pgconn.get_error_message())
    raise error_from_result(result)


def number_places(sql: str) -> str:
    """Write $1, $2 .. for each %s, and % for %%."""
    numbers = iter(range(1, sql.count("%s") + 1))
    return re.sub("%[%s]", lambda found: "%" if found[0] == "%%" else f"${next(numbers)}", sql)
