"""gunicorn's threads, of which a connection takes one only once something was said on it.

Browsers open connections they may need and say nothing on them yet. gunicorn lets each keep a thread for five seconds:
eight of them, and for five seconds the house answers nobody.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker


class ListeningWorker(ThreadWorker):
    def handle(self, conn: TConn) -> Any:
        """Serve a connection; one that is new and silent is left to the poller, as gunicorn itself does after a while."""
        if not conn.initialized and not conn.wait_for_data(0):
            return _DEFER
        return super().handle(conn)
