"""Loops hear of votes: the one that reaches a loop's threshold rings for it. What this misses the sweeper hears."""

from __future__ import annotations

import time
from typing import Any

from django.db.models import QuerySet

from labeling.domain.doorbell import ring
from labeling.models import Judgment
from labeling.statements import compiled
from rlhf.domain.counting import last_judgment_used, list_new_votes
from rlhf.models import Loop

BELIEVED_S = 5.0  # a sixth of what the sweeper takes
MOST_KNOWN = 10_000

_quiet: dict[int, float] = {}  # a cache: until when a project is taken to have no loop that goes by itself


def hear_judgment(judgment: Judgment) -> None:
    """Ring for a running loop when this vote is the one that reaches its threshold.

    Ids grow by at least one a vote, so until as many ids as the threshold have passed nothing needs to be counted.
    """
    project_id = judgment.comparison.project_id
    if time.monotonic() < _quiet.get(project_id, 0.0):
        return
    loops = list_listening(project_id)
    if not loops:
        keep_quiet(project_id)
    for loop in loops:
        if judgment.pk - last_judgment_used(loop.project) < loop.threshold:
            continue
        from_threshold = list_new_votes(loop).order_by("pk").values_list("pk", flat=True)[loop.threshold - 1 :][:2]
        if list(from_threshold) == [judgment.pk]:
            ring("rlhf.advance_loop", loop.pk)


@compiled
def list_listening(project: Any) -> QuerySet[Loop]:
    """The project's loop if it goes by itself."""
    return Loop.objects.select_related("project").filter(project=project, state=Loop.State.RUNNING)


def keep_quiet(project_id: int) -> None:
    """Ask of no vote of this project for a while: where no loop goes, most votes are given."""
    if len(_quiet) >= MOST_KNOWN:
        _quiet.clear()
    _quiet[project_id] = time.monotonic() + BELIEVED_S


def listen_again() -> None:
    """Forget which projects are quiet: a loop was let go, or what comes is another database, as for each test."""
    _quiet.clear()
