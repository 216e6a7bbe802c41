"""Which renderer answers: the first, for whoever takes anything; only who asks for something else is listened to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class PlainNegotiation(DefaultContentNegotiation):
    """To read a header that is hardly ever there took a fiftieth of a vote."""

    def select_renderer(
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[Any, Any]:
        asked = request.META.get("HTTP_ACCEPT", "*/*")
        if format_suffix or request.META.get("QUERY_STRING") or asked not in ("*/*", renderers[0].media_type):
            chosen: tuple[Any, Any] = super().select_renderer(request, renderers, format_suffix)
            return chosen
        return renderers[0], renderers[0].media_type
