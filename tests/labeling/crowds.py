"""Simulated crowds whose truth is known: honest labelers, and those who press anything, the opposite, or always one side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils import timezone

from labeling.models import Comparison, Judgment, Project, User
from tests.labeling.rows import add_pair

Numbers = npt.NDArray[np.int64]

HONEST, RANDOM, INVERTED, ALWAYS_A, ALWAYS_LEFT = "honest", "random", "inverted", "always A", "always left"


def draw_kinds(n: int, *, shares: dict[str, float]) -> list[str]:
    """Return what kind each of n labelers is: so many of each, the others honest."""
    kinds = [kind for kind, share in shares.items() for _ in range(round(share * n))]
    return kinds + [HONEST] * (n - len(kinds))


def answer(
    kind: str, truth: Numbers, rng: np.random.Generator, *, accuracy: float = 0.93, a_left: Numbers | None = None
) -> Numbers:
    """Return the strengths, -2 or 2, one labeler of this kind gives to items whose right answers are -1 or 1."""
    right = np.where(rng.random(len(truth)) < accuracy, truth, -truth)
    if kind == HONEST:
        said = right
    elif kind == INVERTED:
        said = -right
    elif kind == RANDOM:
        said = rng.choice([-1, 1], len(truth))
    elif kind == ALWAYS_A:
        said = np.full(len(truth), -1)
    else:
        assert a_left is not None
        said = np.where(a_left, -1, 1)
    return 2 * said


def draw_crowd(
    kinds: Sequence[str], rng: np.random.Generator, *, n_items: int, overlap: int, accuracy: float = 0.93
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return items, labelers and strengths of all votes, and the truth of each item; labelers are drawn evenly."""
    truth = rng.choice([-1, 1], n_items)
    labelers = np.argsort(rng.random((n_items, len(kinds))), axis=1)[:, :overlap].ravel()
    items = np.repeat(np.arange(n_items), overlap)
    strengths = np.zeros(len(items), dtype=np.int64)
    for labeler, kind in enumerate(kinds):
        hers = labelers == labeler
        strengths[hers] = answer(kind, truth[items[hers]], rng, accuracy=accuracy, a_left=rng.random(hers.sum()) < 0.5)
    return items, labelers, strengths, truth


def store_votes(project: Project, users: Sequence[User], votes: Sequence[tuple[int, int, int]], **columns: Any) -> None:
    """Store (item, labeler, strength) as judgments of work, in their order; items are pairs of one word each.

    columns: other columns of all judgments, or a function of (item, labeler) that returns them.
    """
    texts = {item: add_pair(project, f"item {item}", overlap=1) for item in sorted({item for item, _, _ in votes})}
    Judgment.objects.bulk_create(
        [
            build_judgment(texts[item], users[labeler], strength, item, labeler, columns)
            for item, labeler, strength in votes
        ],
        batch_size=500,
    )


def build_judgment(
    comparison: Comparison, user: User, strength: int, item: int, labeler: int, columns: dict[str, Any]
) -> Judgment:
    facts = {"a_shown_left": (item + labeler) % 2 == 0, "is_extra": True, "active_ms": 4000, "shown_at": timezone.now()}
    facts |= {name: value(item, labeler) if callable(value) else value for name, value in columns.items()}
    verdict = "tie" if strength == 0 else "A" if strength < 0 else "B"
    return Judgment(comparison=comparison, labeler=user, verdict=verdict, strength=strength, scale="quick", **facts)
