"""The text of a statement of the hot path, and how it is run: at once, or with the next one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from django.db.backends.base.base import BaseDatabaseWrapper

from labeling.maker import Maker
from labeling.prepared import Rows, run_later, run_prepared, settle


@dataclass(frozen=True)
class Statement:
    """The text of a statement, and which of the values given goes where in it."""

    sql: str
    places: tuple[int, ...]

    def run(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> tuple[Rows, int]:
        """Return the rows, and how many rows were met; where statements are logged, Django runs them and shows them whole."""
        given = [values[place] for place in self.places]
        if is_prepared(connection):
            with connection.wrap_database_errors:
                return run_prepared(connection.connection, self.sql, given)
        with connection.cursor() as cursor:
            cursor.execute(self.sql, adapt(given, connection))
            return cursor.fetchall() if cursor.description else [], cursor.rowcount

    def run_later(
        self, connection: BaseDatabaseWrapper, values: Sequence[Any], keep: Callable[[Rows], None] | None = None
    ) -> Later:
        """Let a change go with the next statement of the transaction, where trips cost something. keep: takes its rows."""
        later = Later(connection, keep)
        if connection.in_atomic_block and is_prepared(connection):
            with connection.wrap_database_errors:
                run_later(connection.connection, self.sql, [values[place] for place in self.places], later.hear)
        else:
            later.hear(*self.run(connection, values))
        return later


@dataclass
class Later:
    """What comes of a statement that goes with the next one."""

    connection: BaseDatabaseWrapper
    keep: Callable[[Rows], None] | None = None
    heard: int | None = None

    def hear(self, rows: Rows, n_met: int) -> None:
        self.heard = n_met
        if self.keep:
            self.keep(rows)

    def settle(self) -> None:
        """Send it now if nothing was sent since."""
        if self.heard is None:
            with self.connection.wrap_database_errors:
                settle(self.connection.connection)
        assert self.heard is not None, "the transaction of this statement was taken back"

    @property
    def n_met(self) -> int:
        """How many rows the change met; it is sent now if nothing was sent since."""
        self.settle()
        return cast(int, self.heard)


@dataclass(frozen=True)
class Read(Statement):
    """A statement that returns rows, and how Django makes models of them."""

    compiler: Any
    converters: dict[int, Any]
    maker: Maker

    def fetch(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> list[Any]:
        rows, _ = self.run(connection, values)
        return self.make_all(rows, connection)

    def fetch_later(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> Callable[[], list[Any]]:
        """Read with the next statement where there are trips to spare, else when the rows are asked for."""
        if not is_prepared(connection):
            return partial(self.fetch, connection, values)
        read: list[Any] = []
        later = Later(connection, keep=read.extend)
        with connection.wrap_database_errors:
            run_later(connection.connection, self.sql, [values[place] for place in self.places], later.hear)

        def make() -> list[Any]:
            later.settle()
            return self.make_all(read, connection)

        return make

    def make_all(self, rows: Rows, connection: BaseDatabaseWrapper) -> list[Any]:
        found = []
        for row in self.compiler.apply_converters(rows, self.converters) if self.converters else rows:
            made = self.maker.make(row, connection.alias)
            for name, column in self.compiler.annotation_col_map.items():
                setattr(made, name, row[column])
            found.append(made)
        return found


def is_prepared(connection: BaseDatabaseWrapper) -> bool:
    """Say whether a statement goes through libpq alone, and see that it can."""
    if connection.vendor != "postgresql" or connection.queries_logged or connection.execute_wrappers:
        return False
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    return True


def adapt(values: list[Any], connection: BaseDatabaseWrapper) -> list[Any]:
    """Return values as the database's driver takes them; PostgreSQL's takes all there are."""
    if connection.vendor == "postgresql":
        return values
    adapt_one = connection.ops.adapt_unknown_value
    return [value.hex if isinstance(value, uuid.UUID) else adapt_one(value) for value in values]
