"""What a hundred loops that wait cost a machine: one sweep of them against one sweep of one, and the share of a core.

    PREFLOOP_HOME=$(mktemp -d) python benchmarks/loops.py [--loops 100] [--votes 200]

Each loop waits with so many judgments since its last round. The sweeper goes by every 30 seconds; what is printed is its
queries and its time, and that time as a share of the 30 seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import uuid
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django

django.setup()

from django.core.management import call_command  # noqa: E402 -- after setup
from django.db import connection  # noqa: E402 -- after setup
from django.test.utils import CaptureQueriesContext  # noqa: E402 -- after setup
from django.utils import timezone  # noqa: E402 -- after setup

from labeling.domain.doorbell import SWEEP_S  # noqa: E402 -- after setup
from labeling.domain.pairing import Pair, propose_comparisons  # noqa: E402 -- after setup
from labeling.domain.people import add_member  # noqa: E402 -- after setup
from labeling.models import Comparison, Judgment, Project, User  # noqa: E402 -- after setup
from rlhf.domain.listening import list_due, sweep_loops  # noqa: E402 -- after setup
from rlhf.models import Loop  # noqa: E402 -- after setup

N_SWEEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, default=100)
    parser.add_argument("--votes", type=int, default=200, help="Judgments each loop has since its last round.")
    arguments = parser.parse_args()
    call_command("migrate", verbosity=0)
    labeler, _ = User.objects.get_or_create(username="lea")
    print(f"{'loops':>6} {'votes':>8} {'queries':>8} {'a sweep':>10} {'of a core':>10}")
    baseline_s = 0.0
    for n_loops in (1, arguments.loops):
        while Loop.objects.count() < n_loops:
            add_loop(labeler, arguments.votes)
        n_queries, seconds = measure_sweep()
        baseline_s = baseline_s or seconds
        row = f"{n_loops:>6} {Judgment.objects.count():>8} {n_queries:>8} {1000 * seconds:>7.1f} ms {seconds / SWEEP_S:>9.2%}"
        print(f"{row}   {seconds / baseline_s:.1f} times one loop's")


def add_loop(labeler: User, n_votes: int) -> None:
    """A running loop that has one judgment too few, and a pair that waits."""
    project = Project.objects.create(slug=f"loop-{uuid.uuid4().hex[:8]}", name="Loop")
    add_member(project, labeler, role="labeler")
    pairs = [
        Pair(messages=[{"role": "user", "content": f"{project.slug} {number}"}], text_a="Yes.", text_b="No.")
        for number in range(n_votes + 1)
    ]
    propose_comparisons(project, pairs)
    now = timezone.now()
    judged = Comparison.objects.filter(project=project).order_by("id")[:n_votes]
    facts = {"is_extra": True, "a_shown_left": True, "shown_at": now, "strength": -1, "verdict": "A", "scale": "quick"}
    Judgment.objects.bulk_create(Judgment(comparison=row, labeler=labeler, **facts) for row in judged)
    Loop.objects.create(project=project, state=Loop.State.RUNNING, threshold=n_votes + 1)


def measure_sweep() -> tuple[int, float]:
    """Return the queries of a sweep and the median of its seconds."""
    assert list_due() == [], "nothing may be due, or ringing is measured too"
    with CaptureQueriesContext(connection) as queries:
        sweep_loops()
    taken_s = []
    for _ in range(N_SWEEPS):
        started_s = time.perf_counter()
        sweep_loops()
        taken_s.append(time.perf_counter() - started_s)
    return len(queries), statistics.median(taken_s)


if __name__ == "__main__":
    main()
