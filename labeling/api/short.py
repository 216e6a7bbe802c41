"""The short way of a vote by API, past what it does not need of middleware, addresses and REST framework.

Labelers send little else, and what serves any request took as long as the vote itself. Only a plain vote with all its
proofs goes here: a session known to be hers, the CSRF token, a body every check has passed. Whatever else comes is left
untouched to the usual way, which alone refuses strangers and answers the same (tests/labeling/api/test_short.py).
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from rest_framework.authentication import CSRFCheck
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.renderers import JSONRenderer

from labeling.api.parsers import BoundedJSONParser
from labeling.api.serializers import NewJudgmentSerializer, add_key
from labeling.api.views import answer_vote
from labeling.languages import choose_language, speak
from labeling.models import User
from labeling.sessions import SessionStore, find_owner

View = Callable[[HttpRequest], HttpResponse]
VOTES = "/api/v1/judgments/"
JSON = "application/json"
MOST_BYTES = 64 * 1024  # of a body
HEADERS = {"Allow": "GET, POST, HEAD, OPTIONS", "Vary": "Accept-Language, Cookie"}


def take_short_way(get_response: View) -> View:
    """Make the middleware. It stands behind those that guard an answer by its headers, before all others."""
    check = CSRFCheck(get_response)

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path_info == VOTES and is_plain(request):
            request.get_host()  # refuses a host that is not ours
            if labeler := find_labeler(request, check):
                speak(request, choose_language(labeler) or translation.get_language_from_request(request))
                if vote := read_vote(request):
                    return answer_shortly(request, labeler, vote)
        return get_response(request)

    return answer


def is_plain(request: HttpRequest) -> bool:
    """Say whether a request is a POST of a little JSON that takes JSON for an answer."""
    said = request.META
    length = said.get("CONTENT_LENGTH") or ""
    is_posted = request.method == "POST" and said.get("CONTENT_TYPE") == JSON and not said.get("QUERY_STRING")
    is_small = length.isascii() and length.isdecimal() and int(length) <= MOST_BYTES
    return is_posted and is_small and said.get("HTTP_ACCEPT", "*/*") in ("*/*", JSON)


def find_labeler(request: HttpRequest, check: CSRFCheck) -> User | None:
    """Return who is known to ask and has shown the CSRF token."""
    session = SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    labeler = find_owner(session)
    if labeler is None:
        return None
    check.process_request(request)
    return None if check.process_view(request, None, (), {}) else labeler


def read_vote(request: HttpRequest) -> dict[str, Any] | None:
    """Return what a vote says, None where it is refused: in which words, the usual way says."""
    try:
        return add_key(READER.run_validation(PARSER.parse(BytesIO(request.body), JSON, {})), request.headers)
    except (ParseError, ValidationError):
        return None


def answer_shortly(request: HttpRequest, labeler: User, vote: dict[str, Any]) -> HttpResponse:
    request.user = labeler
    answer = answer_vote(labeler, vote)
    body = RENDERER.render(answer.body)
    headers: dict[str, Any] = {"Content-Length": str(len(body)), "Content-Language": translation.get_language()}
    return HttpResponse(body, content_type=JSON, status=answer.status, headers=HEADERS | headers | answer.headers)


# To make them took longer than what they do.
PARSER, READER, RENDERER = BoundedJSONParser(), NewJudgmentSerializer(), JSONRenderer()
