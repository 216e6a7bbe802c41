"""The access log says who asked what and what was answered, a line each, whatever a stranger sends."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from config.access import AccessLogger

ENVIRON = {"REMOTE_ADDR": "10.0.0.7", "REQUEST_METHOD": "GET", "RAW_URI": "/a?b=c", "SERVER_PROTOCOL": "HTTP/1.1"}


def write(
    logger: type[Logger], caplog: pytest.LogCaptureFixture, environ: dict[str, str], *, accesslog: str
) -> list[str]:
    """Return what a logger of this kind writes of one request, as at a fixed moment."""
    cfg = Config()
    cfg.set("accesslog", accesslog)
    made: Any = logger(cfg)
    made.access_log.propagate = True
    made.now = lambda: "[now]"
    answer = SimpleNamespace(status="201 Created", sent=12, headers=[])
    caplog.clear()
    made.access(answer, SimpleNamespace(headers=[]), environ, timedelta(seconds=1))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "sent", [{}, {"HTTP_USER_AGENT": 'say "no"', "HTTP_REFERER": "http://h/"}, {"RAW_URI": '/"', "HTTP_USER_AGENT": ""}]
)
def test_the_line_is_gunicorns(caplog: pytest.LogCaptureFixture, sent: dict[str, str]) -> None:
    caplog.set_level("INFO", "gunicorn.access")

    ours = write(AccessLogger, caplog, ENVIRON | sent, accesslog="-")

    assert ours == write(Logger, caplog, ENVIRON | sent, accesslog="-")
    assert len(ours) == 1


def test_nobody_ends_a_line_but_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gunicorn.access")

    (line,) = write(AccessLogger, caplog, ENVIRON | {"HTTP_USER_AGENT": "x\r\n10.0.0.8 - -"}, accesslog="-")

    assert line.endswith('"x10.0.0.8 - -"')
    assert "\n" not in line


def test_a_log_that_is_off_stays_empty(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gunicorn.access")

    assert write(AccessLogger, caplog, ENVIRON, accesslog=None) == []
