"""The front of a queue: where a busy process begins to look for the next slot, since all before it has just been taken.

PostgreSQL takes an entry out of an index when it vacuums. Until then whoever walks a queue from its beginning passes over
everything that was taken since: after 75,000 votes on three million slots that is 750 pages, for every single claim. So
a process that claims often walks from the beginning once a second, and from there on from where it found something.
What is given back, put in or raised meanwhile comes a second later, and what one labeler may not be given is passed over
for another until then; nothing is left out, since where nothing is found the walk begins at the beginning.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.models import Q

from labeling.models import Slot

BELIEVED_S = 1.0
BUSY = 20  # claims within that time; fewer can afford to walk from the beginning
MOST_KNOWN = 1000

Key = tuple[int, tuple[str, ...]]  # project, order


class Place(NamedTuple):
    """Where a slot stands in a queue, by any order."""

    number: int
    priority: int
    score: float
    shuffle: int


@dataclass(slots=True)
class Front:
    """Where the walks of one second have come to. place: of the last slot found."""

    place: Place
    is_busy: bool
    begun_s: float = field(default_factory=time.monotonic)
    n_walks: int = 1

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.begun_s


_fronts: dict[Key, Front] = {}  # a cache that threads share: what it says is only ever late


def find_front(key: Key) -> Place | None:
    """Return the place to begin at; None where the queue is to be walked from its beginning."""
    front = _fronts.get(key)
    return front.place if front and front.is_busy and front.age_s < BELIEVED_S else None


def move_front(key: Key, slot: Slot) -> None:
    """Keep where a slot was found; the first of a new second was found from the beginning."""
    place, front = Place(slot.number, slot.priority, slot.score, slot.shuffle), _fronts.get(key)
    if front and front.age_s < BELIEVED_S:
        front.place, front.n_walks = place, front.n_walks + 1
        return
    if len(_fronts) >= MOST_KNOWN:
        _fronts.clear()
    was_busy = front is not None and front.n_walks >= BUSY and front.age_s < 2 * BELIEVED_S
    _fronts[key] = Front(place, is_busy=was_busy)


def lies_ahead(order: tuple[str, ...], number: Any, priority: Any, score: Any, shuffle: Any) -> Q:
    """Return the condition of the slots from a place on, to the end of its stretch: same number, same priority.

    Priority does not weigh where chance picks.
    """
    if "-score" in order:
        return Q(number=number, priority=priority, score__lte=score)
    if "-priority" in order:
        return Q(number=number, priority=priority, shuffle__gte=shuffle)
    return Q(number=number, shuffle__gte=shuffle)


def forget_fronts() -> None:
    """Forget them all: what comes is another database, as for each test."""
    _fronts.clear()
