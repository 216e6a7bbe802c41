"""Acts that come faster than anyone can read are put off, not lost: the page's outbox sends them again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse

from labeling.domain.errors import TooManyActs
from labeling.models import User
from labeling.permissions import View


def put_off_flood(refuse: Callable[[User], None]) -> Callable[[View], View]:
    """Answer 429 with Retry-After where refuse raises; what only reads is let through."""

    def decorate(view: View) -> View:
        @wraps(view)
        def slowed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method == "POST":
                    refuse(request.user)  # type: ignore[arg-type]
            except TooManyActs as error:
                headers = {"Retry-After": str(error.wait_s)}
                return HttpResponse(str(error), status=429, content_type="text/plain; charset=utf-8", headers=headers)
            return view(request, *args, **kwargs)

        return slowed

    return decorate
