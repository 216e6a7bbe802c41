"""gunicorn's access log, the same line for less: gunicorn first lists every header and variable anybody might want in it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger


class AccessLogger(Logger):
    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Write who asked what, when, and what was answered, where the log is on."""
        if self.access_log_enabled:
            who, asked = environ.get("REMOTE_ADDR", "-"), quote(f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}")
            status = str(resp.status).partition(" ")[0]
            from_where, agent = (quote(environ.get(name, "-")) for name in ("HTTP_REFERER", "HTTP_USER_AGENT"))
            self.access_log.info(
                f'{who} - - {self.now()} "{asked} {environ["SERVER_PROTOCOL"]}" {status} {resp.sent} '
                f'"{from_where}" "{agent}"'
            )


def quote(text: str) -> str:
    """Return what a stranger sent so that it ends neither its quotation nor its line."""
    return text.replace('"', '\\"').replace("\n", "").replace("\r", "")
