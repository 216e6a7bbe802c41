"""Curves as SVG, drawn on the server: no script, printable, and testable without a browser.

Plain numbers in, texts of path data out; templates/rlhf/_chart.html puts them on the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

MAX_POINTS = 300
WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 24
# Curves that say more side by side; every other key has a chart of its own.
TOGETHER = (
    ("rewards/chosen", "rewards/rejected"),
    ("logps/chosen", "logps/rejected"),
    ("logits/chosen", "logits/rejected"),
    ("alarm/proxy", "alarm/doubt"),
    ("min_reward", "mean_reward", "max_reward"),
)
# What a person looks at first, in this order; the rest follows by name.
FIRST = (
    "loss",
    "eval_loss",
    "accuracy",
    "rewards/accuracies",
    "objective/rlhf_reward",
    "objective/kl",
    "margin",
    "rewards/margins",
)
# They only count, so their curve is a straight line.
COUNTERS = ("epoch", "step", "num_tokens", "total_flos", "episode")


@dataclass(frozen=True)
class Curve:
    """One metric's line. number: 1 for the first of its chart."""

    key: str
    number: int
    path: str
    first: float
    last: float


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is, in SVG units, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What _chart.html draws."""

    title: str
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def draw_charts(rows: Iterable[tuple[int, dict[str, float]]]) -> list[Chart]:
    """Return the charts of a run's metrics, the telling ones first. rows: (step, values) by step.

    What was logged once is no curve: it stands among the results, and in the table.
    """
    series: dict[str, list[Point]] = {}
    for step, values in rows:
        for key, value in values.items():
            if key not in COUNTERS and isinstance(value, (int, float)) and math.isfinite(value):
                series.setdefault(key, []).append((step, value))
    series = {key: points for key, points in series.items() if len(points) > 1}
    groups = [[key for key in keys if key in series] for keys in TOGETHER]
    grouped = {key for keys in groups for key in keys}
    groups += [[key] for key in series if key not in grouped]
    return [draw_chart({key: series[key] for key in keys}) for keys in sorted(filter(None, groups), key=rank)]


def rank(keys: Sequence[str]) -> tuple[int, str]:
    """Return where a chart comes: as its first key in FIRST, or after all of them by name."""
    return (FIRST.index(keys[0]) if keys[0] in FIRST else len(FIRST), keys[0])


def draw_chart(series: dict[str, list[Point]], *, along: str = "step") -> Chart:
    """Return one chart of one or more curves over the same steps. along: what lies across, for who cannot see it."""
    steps = [step for points in series.values() for step, _ in points]
    values = [value for points in series.values() for _, value in points]
    x_low, x_high = widen(min(steps), max(steps))
    y_marks = nice_marks(*widen(min(values), max(values)))
    y_low, y_high = min(y_marks[0], min(values)), max(y_marks[-1], max(values))
    curves = []
    for number, (key, points) in enumerate(series.items(), 1):
        placed = [
            (scale(x, x_low, x_high, LEFT, WIDTH - RIGHT), scale(y, y_low, y_high, HEIGHT - BOTTOM, TOP))
            for x, y in thin(points, MAX_POINTS)
        ]
        curves.append(Curve(key, number, draw_path(placed), points[0][1], points[-1][1]))
    return Chart(
        title=" · ".join(series),
        curves=curves,
        x_ticks=[
            Tick(scale(x, x_low, x_high, LEFT, WIDTH - RIGHT), f"{x:g}") for x in whole_marks(min(steps), max(steps))
        ],
        y_ticks=[Tick(scale(y, y_low, y_high, HEIGHT - BOTTOM, TOP), f"{y:.4g}") for y in y_marks],
        summary="; ".join(
            f"{key}: from {points[0][1]:.4g} at {along} {points[0][0]:.4g} "
            f"to {points[-1][1]:.4g} at {along} {points[-1][0]:.4g}"
            for key, points in series.items()
        ),
    )


def thin(points: Sequence[Point], n: int) -> list[Point]:
    """Return at most n of the points, those that keep the curve's look.

    Source: Steinarsson 2013, "Downsampling Time Series for Visual Representation", largest triangle three buckets.
    """
    if len(points) <= n:
        return list(points)
    kept = [points[0]]
    for bucket in range(n - 2):
        start, end = bucket_bounds(bucket, len(points), n)
        after = points[end : bucket_bounds(bucket + 1, len(points), n)[1]] or points[-1:]
        mean = (sum(x for x, _ in after) / len(after), sum(y for _, y in after) / len(after))
        last = kept[-1]
        kept.append(max(points[start:end], key=lambda point: triangle_area(last, point, mean)))
    return [*kept, points[-1]]


def bucket_bounds(bucket: int, n_points: int, n: int) -> tuple[int, int]:
    """Return where a bucket begins and ends; the first and the last point are in none."""
    inner = n_points - 2
    return 1 + bucket * inner // (n - 2), 1 + min(bucket + 1, n - 2) * inner // (n - 2)


def triangle_area(a: Point, b: Point, c: Point) -> float:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2


def draw_path(points: Sequence[Point]) -> str:
    """Return SVG path data; one point alone becomes a dot's worth of line."""
    if len(points) == 1:
        (x, y) = points[0]
        return f"M{x - 2:.1f} {y:.1f}h4"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def scale(value: float, low: float, high: float, start: float, end: float) -> float:
    """Return the place of value between start and end."""
    return start + (value - low) / (high - low) * (end - start)


def widen(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty, so that a flat curve lies in the middle."""
    if high > low:
        return low, high
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def nice_marks(low: float, high: float, n: int = 4) -> list[float]:
    """Return about n round numbers from at or below low to at or above high."""
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def whole_marks(low: float, high: float) -> list[float]:
    """Return the first, the last and round steps between that leave the two room."""
    if high <= low:
        return [low]
    room = 0.2 * (high - low)
    inner = [mark for mark in nice_marks(low, high) if low + room < mark < high - room]
    return [low, *(mark for mark in inner if mark.is_integer()), high]
