"""A project's circle as a drawing: seven places on a ring, which of them it has passed and where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlhf.domain.stages import split_stage
from rlhf.domain.standing import Standing

WIDTH, HEIGHT = 340, 250
RADIUS, LABEL_RADIUS = 84, 100
GAP = 0.16  # radians an arc keeps from its places
PLACES = ("label", "learn", "evaluate", "gate", "promote", "sample", "queue")
# Where a stage belongs; what is not named here is learning.
STAGE_PLACES = {"evaluate": "evaluate", "sample": "sample", "score": "sample"}


@dataclass(frozen=True)
class Place:
    """A place on the ring, in SVG units, its label, and the arc that leads on from it. state: passed, here or ahead."""

    name: str
    state: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    arc: str


def draw_circle(standing: Standing) -> list[Place]:
    """Return the places in order, the first on top."""
    here = PLACES.index(find_place(standing))
    places = []
    for number, name in enumerate(PLACES):
        angle = 2 * math.pi * number / len(PLACES) - math.pi / 2
        x, y = place_at(angle, RADIUS)
        label_x, label_y = place_at(angle, LABEL_RADIUS)
        places.append(
            Place(
                name=name,
                state="passed" if number < here else "here" if number == here else "ahead",
                x=x,
                y=y,
                label_x=label_x,
                label_y=label_y + 4,
                anchor="middle" if abs(math.cos(angle)) < 0.1 else "start" if math.cos(angle) > 0 else "end",
                arc=draw_arc(angle + GAP, angle + 2 * math.pi / len(PLACES) - GAP),
            )
        )
    return places


def find_place(standing: Standing) -> str:
    """Return where a project's circle stands."""
    if not standing.is_running:
        is_held = standing.pending is not None and standing.n_new >= standing.loop.threshold
        return "gate" if is_held else "label"
    assert standing.turn is not None
    stages, stage = standing.turn.stages, standing.turn.stage
    if stage is None:
        return "queue"
    kind, _ = split_stage(stage.name)
    # Best of n samples and scores to learn; what comes after the last model it makes is for the queue.
    is_learning = any(split_stage(later.name)[0] in ("sft", "dpo", "ppo") for later in stages[stages.index(stage) :])
    return "learn" if is_learning else STAGE_PLACES.get(kind, "learn")


def place_at(angle: float, radius: float) -> tuple[float, float]:
    return WIDTH / 2 + radius * math.cos(angle), HEIGHT / 2 + radius * math.sin(angle)


def draw_arc(start: float, end: float) -> str:
    """Return SVG path data of a part of the ring."""
    (x, y), (to_x, to_y) = place_at(start, RADIUS), place_at(end, RADIUS)
    return f"M{x:.1f} {y:.1f}A{RADIUS} {RADIUS} 0 0 1 {to_x:.1f} {to_y:.1f}"
