"""Numbers as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """Return seconds as "40 s", "3 min 20 s" or "2 h 5 min"; an empty text for None."""
    if seconds is None:
        return ""
    total_s = max(0, round(seconds))
    if total_s < 90:
        return f"{total_s} s"
    minutes, left_s = divmod(total_s, 60)
    if minutes < 10:
        return f"{minutes} min {left_s} s" if left_s else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


@register.filter
def time_left(seconds: float | None) -> str:
    """Return an estimate in steps a reader can trust: "about 40 s left"; an empty text when there is none."""
    if seconds is None:
        return ""
    if seconds < 5:
        return "a few seconds left"
    grain_s = 5 if seconds < 60 else 10 if seconds < 300 else 60
    return f"about {duration(grain_s * max(1, round(seconds / grain_s)))} left"


@register.filter
def elapsed(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, or has taken so far when it has no end."""
    if start is None:
        return ""
    return duration(((end or timezone.now()) - start).total_seconds())


@register.filter
def figure(value: Any) -> str:
    """Return a number with four significant digits, whole ones with thousands apart; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\N{NO-BREAK SPACE}")
    return f"{value:.4g}"


@register.filter
def share(value: float | None) -> str:
    """Return a share of one in percent; an empty text when there is none."""
    return "" if value is None else f"{value:.1%}"


@register.filter
def points(value: float) -> str:
    """Return a difference of two shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
