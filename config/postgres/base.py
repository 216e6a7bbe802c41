"""Django's PostgreSQL, with fewer trips to the server: a commit takes along what waited to be sent, and a connection that
was kept from one request to the next is asked whether it lives only where there is doubt."""

from __future__ import annotations

import select
import time
from typing import Any

from django.db.backends.postgresql import base
from django.db.backends.utils import debug_transaction
from psycopg.pq import TransactionStatus

from labeling.prepared import commit, forget, settle

TRUSTED_S = 10.0  # a host that is gone says nothing; a server that stops, or ends a connection, does


class DatabaseWrapper(base.DatabaseWrapper):
    looked_at_s = 0.0  # when it was last seen whether the connection lives

    def is_usable(self) -> bool:
        """Say whether the server still listens; it is asked if it has said something unasked, or nobody looked for long."""
        now_s = time.monotonic()
        is_trusted = now_s - self.looked_at_s < TRUSTED_S and not self.errors_occurred and not self.connection.closed
        self.looked_at_s = now_s
        return (is_trusted and not is_readable(self.connection.fileno())) or bool(super().is_usable())

    def close_if_unusable_or_obsolete(self) -> None:
        """Keep the connection for the next request, but nothing that this one still wanted to send."""
        if self.connection is not None:
            forget(self.connection)
        super().close_if_unusable_or_obsolete()

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
        super()._close()

    def _rollback(self) -> None:
        if self.connection is not None:
            forget(self.connection)
        super()._rollback()

    def _commit(self) -> None:
        if self.connection is not None:
            with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
                commit(self.connection)


def is_readable(fileno: int) -> bool:
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))
