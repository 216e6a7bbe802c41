"""Django's PostgreSQL, with fewer trips to the server: a commit takes along what waited to be sent, and a connection that
lay in the pool is asked whether it lives only where there is doubt."""

from __future__ import annotations

import select
import time
from typing import Any

from django.db.backends.postgresql import base
from django.db.backends.utils import debug_transaction
from psycopg import Connection, OperationalError
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from labeling.prepared import commit, forget, settle

TRUSTED_S = 10.0  # a host that is gone says nothing; a server that stops, or ends a connection, does


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        """Return a connection of the pool; one the server has left is closed, and the next is taken."""
        while True:
            connection: Connection = super().get_new_connection(conn_params)
            if not self.pool or is_alive(connection):
                return connection
            connection.close()
            self.pool.putconn(connection)

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a cursor; what it asks is asked behind what waits to be sent."""
        settle(self.connection)
        return super().create_cursor(name)

    def _set_autocommit(self, autocommit: bool) -> None:
        """The driver asks under a lock, and in a loop of its own, what is seen at once: whether a transaction is open."""
        if self.connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self.connection._autocommit = autocommit
        else:
            super()._set_autocommit(autocommit)

    def _close(self) -> None:
        if self.connection is not None:
            forget(self.connection)
            self.connection.rested_at_s = time.monotonic()
        super()._close()

    def _rollback(self) -> None:
        if self.connection is not None:
            forget(self.connection)
        super()._rollback()

    def _commit(self) -> None:
        if self.connection is not None:
            with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
                commit(self.connection)


def is_alive(connection: Connection) -> bool:
    """Say whether the server still listens; it is asked if it has said something unasked, or nothing for long."""
    rested_s = time.monotonic() - vars(connection).get("rested_at_s", 0.0)
    if rested_s < TRUSTED_S and not is_readable(connection.fileno()):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except OperationalError:
        return False
    return True


def is_readable(fileno: int) -> bool:
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))
