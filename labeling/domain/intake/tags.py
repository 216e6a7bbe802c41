"""Which slice and language a row says it is of, under the names that data sets use for it."""

from __future__ import annotations

from typing import Any

SLICE_KEYS = ("slice", "category", "subset", "domain")
LANGUAGE_KEYS = ("language", "lang")
SLICE_CHARS, LANGUAGE_CHARS = 64, 16
# More kinds than this are no slices: the column holds something else, such as topics in people's own words.
N_SLICES = 200


def read_tags(row: dict[str, Any]) -> tuple[str, str]:
    """Return the slice's name and the language, each "" where the row has none that could be one."""
    places = [row, *(place for place in (row.get("prompt"), row.get("metadata")) if isinstance(place, dict))]
    return find_tag(places, SLICE_KEYS, SLICE_CHARS), find_tag(places, LANGUAGE_KEYS, LANGUAGE_CHARS)


def find_tag(places: list[dict[str, Any]], keys: tuple[str, ...], n_chars: int) -> str:
    for place in places:
        for key in keys:
            value = place.get(key)
            if isinstance(value, str) and 0 < len(value.strip()) <= n_chars and value.isprintable():
                return value.strip()
    return ""
