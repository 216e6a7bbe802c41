"""Statements PostgreSQL has prepared, run through libpq alone, and as many as may be on one trip.

The driver's cursor waits for an answer in Python. Woken for it with cold caches, a statement took 145 us of it, and 35
where libpq waits. It is the driver's own door to libpq (psycopg.pq), and values are still the driver's to translate. The
server infers of which types they are, so a statement is prepared once whatever it is given.

A trip to the server costs both sides about as much as finding a row. What begins a transaction, and a change whose
outcome nobody waits for yet, go with the statement that comes next, or with COMMIT (libpq's pipeline mode); the first of
them that fails is what the whole trip raises, and nothing behind it is done.

Behind pgbouncer this takes its release 1.21.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from psycopg import Connection, OperationalError
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader, PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

Rows = list[tuple[Any, ...]]
Hear = Callable[[Rows, int], None]  # a statement's rows, and how many it met
Message = tuple[bytes, Sequence[Any], Hear | None]  # the name of a statement, its values, and who waits for its outcome


class MomentLoader(Loader):
    """A moment as PostgreSQL writes it in UTC, which Django sets: the driver reads any style, and takes ten times as long."""

    def load(self, data: Buffer) -> datetime:
        return datetime.fromisoformat(bytes(data).decode())


class Adapting:
    """How values are translated: as on the connection, but for moments."""

    def __init__(self, raw: Connection) -> None:
        self.connection = raw
        self.adapters = AdaptersMap(raw.adapters)
        self.adapters.register_loader("timestamptz", MomentLoader)


class Prepared:
    """What one connection has prepared: its statements by their text, the translator of values, and what is to be sent."""

    def __init__(self, raw: Connection) -> None:
        self.raw = raw
        self.pgconn: PGconn = raw.pgconn
        self.transformer = Transformer(Adapting(raw))
        self.names: dict[str, bytes] = {}
        self.later: list[Message] = []
        self.poll = select.poll()

    def write(self, sql: str, values: Sequence[Any], hear: Hear | None = None) -> Message:
        """Return the message that runs a statement written with %s, prepared now if it never was."""
        if sql not in self.names:
            name = f"house_{len(self.names)}".encode()
            check(self.pgconn, self.pgconn.prepare(name, number_places(sql).encode()))
            self.names[sql] = name
        return self.names[sql], self.transformer.dump_sequence(values, [PyFormat.TEXT] * len(values)), hear

    def send(self, message: Message) -> PGresult:
        """Run a statement behind all that waited for it, and return its result."""
        messages = [*self.list_begin(), *self.later, message]
        self.later = []
        results = self.travel(messages) if len(messages) > 1 else [self.pgconn.exec_prepared(*message[:2])]
        self.hear(messages, results)
        return results[-1]

    def hear(self, messages: Sequence[Message], results: Sequence[PGresult]) -> None:
        """Tell whoever waits for an outcome. Raises: what the first that failed was refused for."""
        for result, (_, _, hear) in zip(results, messages, strict=True):
            check(self.pgconn, result)
            if hear:
                hear(self.read_rows(result), result.command_tuples or 0)

    def read_rows(self, result: PGresult) -> Rows:
        if not result.ntuples:
            return []
        self.transformer.set_pgresult(result)
        return cast(Rows, self.transformer.load_rows(0, result.ntuples, tuple))

    def travel(self, messages: Sequence[Message]) -> list[PGresult]:
        """Run statements on one trip; those behind one that fails are not run."""
        self.pgconn.enter_pipeline_mode()
        for name, given, _ in messages:
            self.pgconn.send_query_prepared(name, given)
        self.pgconn.pipeline_sync()
        results = [self.receive_all() for _ in messages]
        self.receive()  # the end of the trip
        self.pgconn.exit_pipeline_mode()
        return results

    def list_begin(self) -> list[Message]:
        """Like the driver's cursor begin a transaction where the connection does not commit by itself."""
        is_begun = self.raw.autocommit or self.pgconn.transaction_status != TransactionStatus.IDLE
        return [] if is_begun else [self.write("BEGIN", [])]

    def receive_all(self) -> PGresult:
        """Return the result of one statement of a trip."""
        result = self.receive()
        if result is None or self.pgconn.status == ConnStatus.BAD:
            raise OperationalError(self.pgconn.get_error_message())
        self.receive()  # there are no more of it
        return result

    def receive(self) -> PGresult | None:
        """Wait for what comes next; libpq's own waiting would keep every other thread from working."""
        while self.pgconn.flush():
            self.wait(select.POLLIN | select.POLLOUT)
        while self.pgconn.is_busy():
            self.wait(select.POLLIN)
        return self.pgconn.get_result()

    def wait(self, events: int) -> None:
        self.poll.register(self.pgconn.socket, events)
        self.poll.poll()
        self.pgconn.consume_input()


def find_prepared(raw: Connection) -> Prepared:
    prepared: Prepared = vars(raw).get("prepared") or vars(raw).setdefault("prepared", Prepared(raw))
    return prepared


def run_prepared(raw: Connection, sql: str, values: Sequence[Any]) -> tuple[Rows, int]:
    """Run a statement and return its rows, and how many rows it met. Raises: the driver's errors."""
    prepared = find_prepared(raw)
    result = prepared.send(prepared.write(sql, values))
    return prepared.read_rows(result), result.command_tuples or 0


def run_later(raw: Connection, sql: str, values: Sequence[Any], hear: Hear) -> None:
    """Let a statement go with the next one of its transaction, and tell then what came of it."""
    prepared = find_prepared(raw)
    prepared.later.append(prepared.write(sql, values, hear))


def settle(raw: Connection) -> None:
    """Send now what waits to be sent."""
    prepared: Prepared | None = vars(raw).get("prepared")
    if prepared and prepared.later:
        prepared.send(prepared.later.pop())


def forget(raw: Connection) -> None:
    """Send nothing of what waits: its transaction is taken back."""
    if "prepared" in vars(raw):
        find_prepared(raw).later = []


def commit(raw: Connection) -> None:
    """End the transaction there is, behind what waits to be sent."""
    prepared = find_prepared(raw)
    if prepared.later or raw.pgconn.transaction_status != TransactionStatus.IDLE:
        prepared.send(prepared.write("COMMIT", []))


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
