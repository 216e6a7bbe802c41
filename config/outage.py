"""What a request is told that the server could not answer: 503 while the database is out of reach, else 500."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

RETRY_S = 5
OUT_OF_REACH = "The database is out of reach. Nothing that was saved is lost; try again in a moment."
BROKEN = "Something broke. It is in the server's log."


def answer_failure(request: HttpRequest) -> HttpResponse:
    """Django's handler500, which reads no database: what failed is in the log already."""
    is_out = is_outage(sys.exc_info()[1])
    status = 503 if is_out else 500
    answer: HttpResponse
    if request.path.startswith("/api/"):
        answer = JsonResponse({"detail": OUT_OF_REACH if is_out else BROKEN}, status=status)
    else:
        answer = HttpResponse(render_to_string(f"{status}.html"), status=status)
    if is_out:
        answer["Retry-After"] = str(RETRY_S)
    return answer


def is_outage(error: BaseException | None) -> bool:
    """Say whether an error will pass by itself; a table that is not there will not."""
    return isinstance(error, OperationalError | InterfaceError) and not str(error).startswith("no such ")
