"""The whole house with real processes: supervisor, Redis, web server, workers, learning processes, and a person."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.full.visitor import Visitor

pytestmark = [pytest.mark.full, pytest.mark.faults]

ROOT = Path(__file__).parent.parent.parent
# The demo's recipe at a size that trains in seconds; what it says does not matter here.
SHRINK = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from rlhf.domain.demo import make_project
from rlhf.models import Loop
make_project()
Loop.objects.update(threshold=5, n_pairs=24, settings={
    "pretrain": {"max_steps": 60, "hidden_size": 48, "n_heads": 4, "intermediate_size": 64, "n_layers": 2,
                 "save_steps": 10},
    "sft": {"max_steps": 20}, "sample": {"max_new_tokens": 12}, "reward": {"max_steps": 4}, "dpo": {"max_steps": 4},
})
"""
COUNT = """
import django; django.setup()
from labeling.models import Judgment
from rlhf.models import Round, Run, Sample
print(Judgment.objects.count(), Run.objects.count(), Sample.objects.count())
"""


class House:
    """One installation in a folder of its own, started and stopped like a person would."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        drop = ("DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY")
        environment = {name: value for name, value in os.environ.items() if name not in drop}
        self.environment = environment | {
            "PREFLOOP_HOME": str(home),
            "PORT": str(self.port),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        self.process: subprocess.Popen[str] | None = None

    def python(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *options: str) -> str:
        """Start `manage.py up` and return what it printed until it was there."""
        command = [sys.executable, "manage.py", "up", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True)
        printed = ""
        for line in self.process.stdout:
            printed += line
            if line.startswith("logs:"):
                return printed
        raise AssertionError(f"it never came up: {printed}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=600)
        return self.process.returncode

    def pids(self) -> list[int]:
        """Every process that was started with this home, the supervisor included."""
        mark = f"PREFLOOP_HOME={self.home}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if mark in environment.split(b"\0"):
                found.append(int(pid))
        return found

    def read(self, query: str) -> list[tuple]:
        """Read rows as they are committed: a process with Django for each look would take what it watches its time."""
        with closing(sqlite3.connect(f"file:{self.home}/prefloop.sqlite3?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute(query).fetchall()

    def wait_for_round(self, number: int) -> str:
        """Wait until a round has ended; return what the command says of it, which must have succeeded."""
        deadline = time.monotonic() + 900
        while self.read(f"SELECT state FROM rlhf_round WHERE number = {number}") in ([], [("running",)]):
            assert time.monotonic() < deadline, f"round {number} does not end"
            time.sleep(0.1)
        status = self.python("manage.py", "loop", "status", "--project", "demo")
        line = next((line for line in status.splitlines() if line.startswith(f"round {number}:")), "")
        assert f"round {number}: succeeded" in line, status
        return line


@pytest.fixture(scope="module")
def house():
    home = Path(tempfile.mkdtemp(prefix="house-"))
    house = House(home)
    yield house
    for pid in house.pids():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


def completions_on(page):
    """The texts of both completions a judge page shows."""
    return re.findall(r'class="text"[^>]*>(.*?)</div>', page, re.DOTALL)


def test_the_circle_closes(house):
    house.python("-c", SHRINK)

    # It starts, and says who may come in.
    printed = house.start()
    username, password = re.search(r"log in as (\S+) with the password (\S+)", printed).groups()

    # It makes its first policy even when a learning process is killed half-way.
    kill_first_learning_process(house)
    house.wait_for_round(0)

    # A person judges in plain HTML.
    visitor = Visitor(f"http://127.0.0.1:{house.port}")
    visitor.log_in(username, password)
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
