"""Reads the JSON that programs send, and refuses what no serializer could read or no database keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

# The deepest body the API knows has three levels; Python itself gives up somewhere short of a thousand.
MAX_DEPTH = 32


class BoundedJSONParser(JSONParser):
    """JSON of at most 32 levels whose numbers are finite; NaN and Infinity are refused by its parent."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: dict[str, Any] | None = None
    ) -> Any:
        try:
            body = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise ParseError(f"JSON parse error - more than {MAX_DEPTH} levels") from error
        level = [body]
        for _ in range(MAX_DEPTH):
            if not level:
                break
            # 1e999 is JSON, and infinity to Python.
            if any(isinstance(value, float) and not math.isfinite(value) for value in level):
                raise ParseError("JSON parse error - a number is out of range")
            level = [child for value in level for child in children(value)]
        if level:
            raise ParseError(f"JSON parse error - more than {MAX_DEPTH} levels")
        return body


def children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
