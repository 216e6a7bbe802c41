"""Curves with bands, and intervals as bars, drawn on the server as SVG: plain numbers in, path data out.

templates/labeling/_curve.html and _interval.html put them on the page: no script, printable, testable without a browser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from django.utils.translation import gettext as _

WIDTH, HEIGHT = 480, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 26
MAX_LABELS = 6
# Half a dot, in SVG units: a week whose neighbours say nothing is seen as one.
DOT = 3


@dataclass(frozen=True)
class Reading:
    """One value of a curve and its interval; a value of None is a gap. label: where it stands, for example 3 Nov.

    is_unsure: measured on too little for an interval, so it is drawn as a hollow dot beside the curve.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    is_unsure: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is, in SVG units, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """What _curve.html draws. dots: where the hollow dots are; mark: the height of the line of reference, if any."""

    title: str
    path: str
    band: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    last: str
    dots: list[tuple[float, float]] = field(default_factory=list)
    mark: float | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Bar:
    """What _interval.html draws: a value and its interval on a scale 100 units wide."""

    value: float
    low: float
    width: float
    mark: float | None
    summary: str


@dataclass(frozen=True)
class Axis:
    """A range of values and the places of its ends, in SVG units."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw_bar(value: float, low: float, high: float, *, mark: float | None = None) -> Bar:
    """Return a share and its interval as a bar; ends beyond 0 and 1 are cut off."""
    low, high = max(0.0, low), min(1.0, high)
    return Bar(
        value=100 * min(1.0, max(0.0, value)),
        low=100 * low,
        width=100 * max(0.0, high - low),
        mark=None if mark is None else 100 * mark,
        summary=_("%(value)s, between %(low)s and %(high)s")
        % {"value": say_percent(value), "low": say_percent(low), "high": say_percent(high)},
    )


def draw_curve(
    title: str, readings: Sequence[Reading], *, is_share: bool = True, mark: float | None = None
) -> Curve | None:
    """Return the curve of readings in their order, with its band; None when no reading has a value.

    A share's axis goes from 0 to 100%, another value's as far as its readings and their intervals go, 0 included.
    """
    known = [reading for reading in readings if reading.value is not None]
    if not known:
        return None
    say = say_percent if is_share else say_number
    marks = [0.0, 0.25, 0.5, 0.75, 1.0] if is_share else mark_axis(known)
    across = Axis(0.0, max(1.0, len(readings) - 1.0), float(LEFT), float(WIDTH - RIGHT))
    up = Axis(marks[0], marks[-1], float(HEIGHT - BOTTOM), float(TOP))
    runs = split_at_gaps(readings)
    return Curve(
        title=title,
        path="".join(trace(run, across, up) for run in runs),
        band="".join(enclose(run, across, up) for run in runs),
        x_ticks=[Tick(across.place(at), readings[at].label) for at in choose_labels(len(readings))],
        y_ticks=[Tick(up.place(value), say(value)) for value in marks],
        summary=f"{title}: " + "; ".join(f"{row.label} {tell(row, say)}" for row in known),
        last=say(([row for row in known if not row.is_unsure] or known)[-1].value or 0.0),
        dots=place_unsure(readings, across, up),
        mark=None if mark is None else up.place(mark),
    )


def split_at_gaps(readings: Sequence[Reading]) -> list[list[tuple[int, Reading]]]:
    """Return the stretches of readings that have a sure value, each with its places."""
    numbered = groupby(enumerate(readings), key=lambda pair: pair[1].value is not None and not pair[1].is_unsure)
    return [list(pairs) for has_value, pairs in numbered if has_value]


def place_unsure(readings: Sequence[Reading], across: Axis, up: Axis) -> list[tuple[float, float]]:
    unsure = [(at, row.value) for at, row in enumerate(readings) if row.is_unsure and row.value is not None]
    return [(across.place(at), up.place(value)) for at, value in unsure]


def tell(reading: Reading, say: Callable[[float], str]) -> str:
    words = say(reading.value or 0.0)
    return _("%s (of too few to be sure)") % words if reading.is_unsure else words


def trace(run: Sequence[tuple[int, Reading]], across: Axis, up: Axis) -> str:
    """Return a stretch as path data; one reading alone becomes a dot's worth of line."""
    points = [(across.place(at), up.place(reading.value or 0.0)) for at, reading in run]
    if len(points) == 1:
        return f"M{points[0][0] - DOT:.1f} {points[0][1]:.1f}h{2 * DOT}"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def enclose(run: Sequence[tuple[int, Reading]], across: Axis, up: Axis) -> str:
    """Return the band around a stretch as closed path data: out along the highs, back along the lows."""
    ends = [(across.place(at), row.low, row.high) for at, row in run if row.low is not None and row.high is not None]
    if not ends:
        return ""
    if len(ends) == 1:
        x, low, high = ends[0]
        ends = [(x - DOT, low, high), (x + DOT, low, high)]
    outline = [(x, up.place(clip(high, up))) for x, _, high in ends]
    outline += [(x, up.place(clip(low, up))) for x, low, _ in reversed(ends)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in outline) + "Z"


def clip(value: float, axis: Axis) -> float:
    return min(max(value, axis.low), axis.high)


def mark_axis(readings: Sequence[Reading]) -> list[float]:
    """Return round numbers from at or below the least end to at or above the greatest, 0 among them."""
    ends = [end for row in readings for end in (row.value, row.low, row.high) if end is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    step = choose_step((high - low) or 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def choose_step(room: float, n: int = 4) -> float:
    """Return the round number that divides the room into about n parts."""
    power = 10.0 ** math.floor(math.log10(room / n))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= room / n * 0.999)


def choose_labels(n: int) -> list[int]:
    """Return which of n readings are labelled: the last and, at even steps, some before it."""
    return list(range(n - 1, -1, -math.ceil(n / MAX_LABELS)))[::-1]


def say_percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def say_number(value: float) -> str:
    return f"{value:.2f}"
