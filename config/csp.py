"""The Content-Security-Policy of every answer, written once: to build it anew took a thirtieth of a vote."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse

View = Callable[..., HttpResponse]
HEADER = "Content-Security-Policy"


def build_policy(directives: dict[str, list[str]]) -> str:
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())


def restrict_sources(get_response: View) -> View:
    """Make the middleware; a view may have set a policy of its own. Django's pages for a developer need none."""
    policy = build_policy(settings.CONTENT_SECURITY_POLICY)

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not (settings.DEBUG and response.status_code in (404, 500)):
            response.headers.setdefault(HEADER, policy)
        return response

    return answer


def with_sources(view: View, directives: dict[str, list[str]]) -> View:
    """Return a view under the house's policy but for these directives."""
    policy = build_policy(settings.CONTENT_SECURITY_POLICY | directives)

    @wraps(view)
    def loosened(*args: object, **kwargs: object) -> HttpResponse:
        response = view(*args, **kwargs)
        response.headers[HEADER] = policy
        return response

    return loosened
