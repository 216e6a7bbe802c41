"""One installation in a folder of its own, with real processes: started, stopped and killed as it happens to a house."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

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


class House:
    """`manage.py up` in a home of its own."""

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
            "JUDGMENTS_PER_MINUTE": "0",  # programs judge here
        }
        self.admin: tuple[str, ...] = ()
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
            if told := re.search(r"log in as (\S+) with the password (\S+)", line):
                self.admin = told.groups()
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

    def end(self) -> None:
        """Leave no process behind."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

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
