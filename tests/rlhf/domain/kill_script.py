"""A round of a loop in processes that die at one write after another: run by test_loop_kills.py in a home of its own.

Prints one line of JSON a killed process: at which write, and what the rows say once others have gone on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402 -- after setup
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from labeling.models import Comparison, Judgment  # noqa: E402
from rlhf.domain import loop as life  # noqa: E402
from rlhf.domain.errors import LearningError  # noqa: E402
from rlhf.models import Loop, Round, Run, Sample  # noqa: E402
from tests.rlhf.domain.circle import judge, make_circle, make_policy, succeed  # noqa: E402

DATABASE = Path(settings.DATABASES["default"]["NAME"])
WRITES = ("INSERT", "UPDATE", "DELETE")


def prepare() -> None:
    """A loop that has the judgments it needs."""
    call_command("migrate", verbosity=0)
    loop = make_circle()
    make_policy(loop.project)
    judge(loop.project, loop.threshold)
    Loop.objects.update(state="running")


def go_on(die_at: int = 0) -> None:
    """Advance the loop and end its runs until nothing is left to do; die at the write of this number."""
    n_writes = 0

    def count(execute, sql, params, many, context):
        nonlocal n_writes
        n_writes += sql.lstrip().upper().startswith(WRITES)
        if die_at and n_writes == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    loop = Loop.objects.get()
    with connection.execute_wrapper(count):
        for _ in range(12):
            with suppress(LearningError):
                life.advance_loop(loop.pk)
            for run in Run.objects.claimable():
                succeed(run)


def in_child(die_at: int = 0) -> bool:
    """Go on in a process of its own; True when it was killed."""
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            go_on(die_at)
        finally:
            sys.stderr.flush()
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def describe() -> dict[str, object]:
    """What the rows say."""
    rounds = list(Round.objects.order_by("number"))
    return {
        "rounds": [[round.number, round.state, round.decision, round.n_queued] for round in rounds],
        "runs": [f"{run.kind}:{run.part}" for run in Run.objects.filter(state="succeeded").order_by("id")],
        "queued": Comparison.objects.filter(priority=1).count(),
        "linked": Sample.objects.filter(completion__isnull=False).count(),
        "judged": Judgment.objects.count(),
        "policy": Loop.objects.get().policy_id == (rounds[0].candidate_id if rounds else None),
    }


def main(step: int) -> None:
    prepare()
    connection.close()
    kept = DATABASE.with_suffix(".kept")
    shutil.copy(DATABASE, kept)
    die_at = 1
    is_killed = True
    while is_killed:
        for path in DATABASE.parent.glob(f"{DATABASE.name}*"):
            path.unlink()
        shutil.copy(kept, DATABASE)
        is_killed = in_child(die_at)
        # The worker that died held its run under a lease; the sweeper takes it up once that has run out.
        Run.objects.filter(state="running").update(lease_until="2000-01-01T00:00:00Z")
        connection.close()
        in_child()
        print(json.dumps({"die_at": die_at, "is_killed": is_killed, **describe()}), flush=True)
        die_at += step


if __name__ == "__main__":
    main(int(sys.argv[1]))
