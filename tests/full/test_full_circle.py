"""The whole house with real processes: supervisor, Redis, web server, workers, learning processes, and a person."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from tests.full.house import SHRINK, House
from tests.full.killing import FAMILY, SERVICES, Judge, kill_all, wait_until
from tests.full.visitor import Visitor

pytestmark = [pytest.mark.full, pytest.mark.faults]

# How often each process is killed; `make faults` does it more than once, at moments that no two runs share.
N_KILLS = int(os.environ.get("HOUSE_KILLS", "1"))
COUNT = """
import django; django.setup()
from labeling.models import Judgment
from rlhf.models import Round, Run, Sample
print(Judgment.objects.count(), Run.objects.count(), Sample.objects.count())
"""
ENDED = "SELECT number, state, cause FROM rlhf_round WHERE state != 'running' ORDER BY number"
# What of a loop must never be there, each with the rows that show it.
DOUBLED = {
    "a pair that was queued twice": """
        SELECT MIN(completion_a_id, completion_b_id), MAX(completion_a_id, completion_b_id), COUNT(*)
        FROM labeling_comparison GROUP BY 1, 2 HAVING COUNT(*) > 1""",
    "a sample that was drawn twice": """
        SELECT run_id, prompt_id, "index", COUNT(*) FROM rlhf_sample GROUP BY 1, 2, 3 HAVING COUNT(*) > 1""",
    "a stage that ran twice": """
        SELECT round_id, kind, part, COUNT(*) FROM rlhf_run GROUP BY 1, 2, 3 HAVING COUNT(*) > 1""",
    "a run that did not succeed": "SELECT id, kind, state, cause FROM rlhf_run WHERE state != 'succeeded'",
    "a round that learned and promoted no policy of its own": """
        SELECT number, candidate_id, decision FROM rlhf_round WHERE stages LIKE '%reward%' AND
        (candidate_id IS NULL OR decision != 'promoted' OR candidate_id IN (SELECT base_id FROM rlhf_round AS earlier
         WHERE earlier.number <= rlhf_round.number))""",
    "a training run with a policy too many or too few": """
        SELECT run.id, run.kind, COUNT(made.id) FROM rlhf_run AS run LEFT JOIN rlhf_checkpoint AS made ON made.run_id = run.id
        WHERE run.kind IN ('pretrain', 'sft', 'reward', 'dpo') GROUP BY 1 HAVING COUNT(made.id) != 1""",
    "a place with two votes": """
        SELECT slot_id, COUNT(*) FROM labeling_judgment WHERE slot_id IS NOT NULL GROUP BY 1 HAVING COUNT(*) > 1""",
    "a judged place without its vote": """
        SELECT id FROM labeling_slot WHERE state = 'judged' AND id NOT IN (SELECT slot_id FROM labeling_judgment)""",
    "queued pairs that are not there": """
        SELECT queued, there FROM (SELECT SUM(n_queued) AS queued FROM rlhf_round),
                                  (SELECT COUNT(*) AS there FROM labeling_comparison) WHERE queued != there""",
}


@pytest.fixture(scope="module")
def house():
    home = Path(tempfile.mkdtemp(prefix="house-"))
    house = House(home)
    house.python("-c", SHRINK)
    yield house
    house.end()
    shutil.rmtree(home, ignore_errors=True)


def completions_on(page):
    """The texts of both completions a judge page shows."""
    return re.findall(r'class="text"[^>]*>(.*?)</div>', page, re.DOTALL)


def test_the_circle_closes(house):
    # It starts, and says who may come in.
    house.start()

    # It makes its first policy even when a learning process is killed half-way.
    kill_first_learning_process(house)
    house.wait_for_round(0)

    # A person judges in plain HTML.
    visitor = Visitor(house.address)
    visitor.log_in(*house.admin)
    visitor.visit("/judge/demo/")
    visitor.submit("/claims/")
    for choice in ("left", "right", "left", "right", "left"):
        visitor.submit("/judgments/", choice=choice)
    assert "<b data-today>5</b> today" in visitor.page

    # One action goes round, and the next pair is the new policy's - which nothing on the page tells.
    visitor.visit("/loop/")
    visitor.submit("/loop/demo/rounds/")
    line = house.wait_for_round(1)
    assert "reward succeeded, dpo succeeded, sample succeeded" in line
    page = visitor.visit("/judge/demo/")
    page = visitor.submit("/judgments/", choice="tie")
    assert "demo-dpo" not in page
    assert "checkpoint" not in page.split("<main")[1].lower()

    # It stops without leaving a process behind, and starts again without forgetting anything.
    before = house.python("-c", COUNT)
    assert house.stop() == 0
    assert house.pids() == []
    printed = house.start()
    assert "password" not in printed
    assert house.python("-c", COUNT) == before
    assert house.stop() == 0
    assert house.pids() == []


def test_the_loop_goes_on_whatever_is_killed(house):
    draw = random.Random(seed := random.SystemRandom().randrange(10**6))
    print(f"the moments and their order come of the seed {seed}, each process is killed {N_KILLS} times")
    house.start()
    house.wait_for_round(0)
    house.python("manage.py", "loop", "start")
    visitor = Visitor(house.address)
    visitor.log_in(*house.admin)
    ((n_before,),) = house.read("SELECT COUNT(*) FROM labeling_judgment")
    judge = Judge(visitor)
    judge.start()

    for _ in range(N_KILLS):
        names = [*SERVICES] if N_KILLS == 1 else [*FAMILY]
        kill_all(house, draw.sample(names, len(names)), draw, least_s=0.2, most_s=2.0 if N_KILLS == 1 else 15.0)
    n_ended = len(house.read(ENDED))
    wait_until(lambda: len(house.read(ENDED)) >= n_ended + 2, 300, "the loop stands still")
    house.python("manage.py", "loop", "stop", "--why", "seen enough")
    wait_until(lambda: not house.read("SELECT 1 FROM rlhf_round WHERE state = 'running'"), 300, "a round does not end")
    judge.stop()

    rounds = house.read(ENDED)
    assert rounds == [(number, "succeeded", "") for number in range(len(rounds))]
    assert {what: found for what, query in DOUBLED.items() if (found := house.read(query))} == {}
    votes = {key for (key,) in house.read("SELECT idempotency_key FROM labeling_judgment")}
    assert {uuid.UUID(key).hex for key in judge.stored} <= votes
    assert len(votes) == n_before + len(judge.stored)
    assert house.stop() == 0
    assert house.pids() == []


def kill_first_learning_process(house):
    """Kill -9 the process that pre-trains, once it has begun to."""
    metrics = house.home / "runs" / "1" / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    folder = str(metrics.parent)
    for pid in house.pids():
        try:
            files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(file.startswith(folder) for file in files):
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("no learning process was found to kill")
