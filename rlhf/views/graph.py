"""Draws a lineage: what was there on the left, what was made of it to the right."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from rlhf.domain.lineage_graph import Graph, Node

WIDTH, HEIGHT = 176, 44
GAP_X, GAP_Y = 56, 14
MAX_CHARS = 22
MADE_IN_ORDER = ("run", "checkpoint")


@dataclass(frozen=True)
class Box:
    """A node with its place, in pixels."""

    node: Node
    x: int
    y: int

    @property
    def name(self) -> str:
        return shorten(self.node.name)

    @property
    def detail(self) -> str:
        return shorten(self.node.detail)

    @property
    def text_x(self) -> int:
        return self.x + 12

    @property
    def name_y(self) -> int:
        return self.y + 18

    @property
    def detail_y(self) -> int:
        return self.y + 34


@dataclass(frozen=True)
class Picture:
    """A drawing: boxes, the lines between them, and its size."""

    boxes: list[Box]
    lines: list[str]
    width: int
    height: int
    box_width: int = WIDTH
    box_height: int = HEIGHT


def draw_graph(graph: Graph) -> Picture:
    """Return the drawing of a lineage; every edge leads to the right."""
    layers = place_layers(graph)
    columns: dict[int, list[str]] = defaultdict(list)
    for key, layer in layers.items():
        columns[layer].append(key)
    rows = order_rows(graph, columns)
    boxes = {
        key: Box(graph.nodes[key], layers[key] * (WIDTH + GAP_X) + 1, rows[key] * (HEIGHT + GAP_Y) + 1)
        for key in layers
    }
    lines = [
        draw_line(boxes[start], boxes[end]) for start, end in sorted(graph.edges) if start in boxes and end in boxes
    ]
    n_columns, n_rows = max(layers.values(), default=0) + 1, max(rows.values(), default=0) + 1
    return Picture(
        list(boxes.values()), lines, n_columns * (WIDTH + GAP_X) - GAP_X + 2, n_rows * (HEIGHT + GAP_Y) - GAP_Y + 2
    )


def place_layers(graph: Graph) -> dict[str, int]:
    """Return each node's column: one more than the last of what it was made of; data stand right before their first use."""
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for start, end in graph.edges:
        before[end].append(start)
        after[start].append(end)
    layers: dict[str, int] = {}
    n_open = {key: len(before[key]) for key in graph.nodes}
    ready = [key for key in graph.nodes if n_open[key] == 0]
    while ready:
        key = ready.pop()
        layers[key] = max((layers[each] + 1 for each in before[key]), default=0)
        for each in after[key]:
            n_open[each] -= 1
            if n_open[each] == 0:
                ready.append(each)
    for key in sorted(layers, key=lambda each: -layers[each]):
        if after[key] and graph.nodes[key].kind not in MADE_IN_ORDER:
            layers[key] = min(layers[each] for each in after[key]) - 1
    return layers


def order_rows(graph: Graph, columns: dict[int, list[str]]) -> dict[str, int]:
    """Return each node's row: near the mean of what it was made of, so that lines cross little."""
    before: dict[str, list[str]] = defaultdict(list)
    for start, end in graph.edges:
        before[end].append(start)
    rows: dict[str, int] = {}
    for layer in sorted(columns):

        def centre(key: str) -> float:
            known = [rows[each] for each in before[key] if each in rows]
            return sum(known) / len(known) if known else len(rows)

        for row, key in enumerate(sorted(columns[layer], key=centre)):
            rows[key] = row
    return rows


def draw_line(start: Box, end: Box) -> str:
    """Return the path of one edge."""
    x1, y1 = start.x + WIDTH, start.y + HEIGHT // 2
    x2, y2 = end.x, end.y + HEIGHT // 2
    middle = max(24, (x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + middle} {y1} {x2 - middle} {y2} {x2} {y2}"


def shorten(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
