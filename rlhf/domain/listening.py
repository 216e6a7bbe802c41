"""Who rings for a loop: the vote that reaches its threshold, and every half minute the sweeper."""

from __future__ import annotations

import time
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from labeling.domain.doorbell import SWEEP_S, ring, send_message
from labeling.models import Judgment
from labeling.statements import compiled
from rlhf.domain.counting import count_new, list_new_votes
from rlhf.domain.quota import read_quota, read_quotas
from rlhf.domain.supply import find_supplied
from rlhf.models import Loop, Round

BELIEVED_S = 5.0  # a sixth of what the sweeper takes
MOST_KNOWN = 10_000

_quiet: dict[int, float] = {}  # a cache: until when a project is taken to have no loop that goes by itself


def sweep_loops() -> None:
    """Ring for every running round, and for every running loop that has something to do; the others cost nothing more."""
    rounds = Round.objects.filter(state=Round.State.RUNNING).exclude(
        Exists(Loop.objects.filter(project=OuterRef("project"), state=Loop.State.PAUSED))
    )
    for pk in rounds.values_list("pk", flat=True):
        send_message("rlhf.advance_round", pk, expires_s=SWEEP_S)
    for pk in list_due():
        send_message("rlhf.advance_loop", pk, expires_s=SWEEP_S)


def list_due() -> list[int]:
    """Return the ids of the running loops that may have something to do, in a few queries for a hundred of them.

    Enough votes for a round, or nothing to judge that would count.
    """
    of_project = Round.objects.filter(project=OuterRef("project"), state=Round.State.RUNNING)
    idle = Loop.objects.filter(~Exists(of_project), state=Loop.State.RUNNING)
    loops = list(idle.select_related("policy", "slice"))
    quotas = read_quotas(loops).values()
    n_new, supplied = count_new(quotas), find_supplied(quotas)
    return [
        loop.pk for loop in loops if n_new.get(loop.project_id, 0) >= loop.threshold or loop.project_id not in supplied
    ]


def hear_judgment(judgment: Judgment) -> None:
    """Ring for a running loop when this vote is the one that reaches its threshold; the sweeper hears what this misses.

    Ids grow by at least one a vote, so until as many ids as the threshold have passed nothing needs to be counted.
    """
    project_id = judgment.comparison.project_id
    if time.monotonic() < _quiet.get(project_id, 0.0):
        return
    loops = list_listening(project_id)
    if not loops:
        keep_quiet(project_id)
    for loop in loops:
        quota = read_quota(loop)
        if judgment.pk - quota.after < loop.threshold:
            continue
        from_threshold = list_new_votes(quota).order_by("pk").values_list("pk", flat=True)[loop.threshold - 1 :][:2]
        if list(from_threshold) == [judgment.pk]:
            ring("rlhf.advance_loop", loop.pk)


@compiled
def list_listening(project: Any) -> QuerySet[Loop]:
    """The project's loop if it goes by itself."""
    return Loop.objects.select_related("policy", "slice").filter(project=project, state=Loop.State.RUNNING)


def keep_quiet(project_id: int) -> None:
    """Ask of no vote of this project for a while: where no loop goes, most votes are given."""
    if len(_quiet) >= MOST_KNOWN:
        _quiet.clear()
    _quiet[project_id] = time.monotonic() + BELIEVED_S


def listen_again() -> None:
    """Forget which projects are quiet: a loop was let go, or what comes is another database, as for each test."""
    _quiet.clear()
