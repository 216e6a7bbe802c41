"""How a judgment was made, as the browser tells it: read leniently, bounded, and never trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DAY_MS = 24 * 3600 * 1000
MAX_COUNT = 1_000_000
VIEWPORT = re.compile(r"\d{1,5}x\d{1,5}")
VERSION = re.compile(r"[\w.+-]{1,32}")
CHOICES = {
    "input_method": ("key", "mouse", "touch"),
    "render": ("raw", "rendered"),
    "layout": ("side", "stacked"),
}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the page saw of the labeler at work; None where it did not say, or said what cannot be."""

    first_input_ms: int | None = None  # from the pair's showing to her first key or click
    visible_left_ms: int | None = None
    visible_right_ms: int | None = None
    scrolled_left: bool | None = None  # to its end
    scrolled_right: bool | None = None
    paste_count: int | None = None
    paste_chars: int | None = None
    input_method: str | None = None  # key, mouse or touch
    viewport: str | None = None  # WIDTHxHEIGHT
    render: str | None = None  # raw or rendered
    used_diff: bool | None = None
    used_sync: bool | None = None
    layout: str | None = None  # side or stacked
    ui_version: str | None = None
    axes_first: bool | None = None


def read_trace(said: Mapping[str, object]) -> dict[str, Any]:
    """Return what Judgment.trace keeps of what a browser sent: known keys with values that can be, and no others."""
    trace = Trace(**{name: read_value(name, said[name]) for name in Trace.__dataclass_fields__ if name in said})
    return {name: value for name, value in vars(trace).items() if value is not None}


def read_value(name: str, value: object) -> Any:
    """Return one value in its type and range, or None."""
    if name in CHOICES:
        return value if value in CHOICES[name] else None
    if name == "viewport":
        return value if isinstance(value, str) and VIEWPORT.fullmatch(value) else None
    if name == "ui_version":
        return value if isinstance(value, str) and VERSION.fullmatch(value) else None
    if name.endswith("_ms"):
        return read_number(value, high=DAY_MS)
    if name.startswith("paste_"):
        return read_number(value, high=MAX_COUNT)
    return value if isinstance(value, bool) else None


def read_number(value: object, *, high: int) -> int | None:
    """Return a count or a time: cut to its bound where it is over, None where it is no number or under zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return int(min(value, high))
