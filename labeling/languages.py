"""The language of a page: her own choice, else the browser's; pages where models learn are in English only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation

from labeling.sessions import find_user

# Apps by the name of their addresses: labeling never imports them.
ENGLISH_ONLY = frozenset({"rlhf", "rlhf-api"})


class LanguageMiddleware:
    """After LocaleMiddleware, which knows the cookie and the browser: a user's own choice goes before both."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Django's stand-in is asked who she is here, for every page: each later question to it takes ten times as long.
        request.user = find_user(request)
        if chosen := choose_language(request.user):
            speak(request, chosen)
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        if request.resolver_match and request.resolver_match.app_name in ENGLISH_ONLY:
            speak(request, "en")


def choose_language(user: Any) -> str:
    """Return the language the user keeps in her desk; an empty string leaves it to the browser."""
    desk = user.desk if user.is_authenticated and isinstance(user.desk, dict) else {}
    return next((code for code, _name in settings.LANGUAGES if code == desk.get("language")), "")


def speak(request: HttpRequest, language: str) -> None:
    translation.activate(language)
    request.LANGUAGE_CODE = translation.get_language()  # type: ignore[attr-defined]
