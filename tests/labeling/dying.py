"""The web server that dies once, by kill -9, in the middle of storing its first judgment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import connection

from config.wsgi import application

Respond = Callable[..., Any]


def die_once() -> None:
    try:
        os.close(os.open(settings.PREFLOOP_HOME / "died", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def after_commit(environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
    """Die with the answer ready and the judgment committed."""
    answer: Iterable[bytes] = application(environ, respond)
    if environ["PATH_INFO"].endswith("/judgments/"):
        die_once()
    return answer


def before_commit(environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
    """Die with the judgment inserted and the transaction open."""

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = run(sql, params, many, context)
        if sql.startswith('INSERT INTO "labeling_judgment"'):
            die_once()
        return result

    with connection.execute_wrapper(execute):
        answer: Iterable[bytes] = application(environ, respond)
        return answer
