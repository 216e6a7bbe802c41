"""What kills the processes of a house, and a program that judges there meanwhile and never gives a vote up."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.full.house import House
from tests.full.visitor import Visitor

# A process of a house by a word of its command line, and what its parent is; the supervisor's parent is the test.
FAMILY = {
    "redis": ("redis-server", "supervisor"),
    "worker": ("default@", "supervisor"),
    "learning": ("learning@", "supervisor"),
    "scheduler": ("beat", "supervisor"),
    "web": ("gunicorn", "supervisor"),
    "web's child": ("gunicorn", "web"),
    "learning's child": ("learning@", "learning"),
    "fork server": ("--serve", "learning's child"),
    "run": ("--serve", "fork server"),
}
SERVICES = tuple(name for name, (_, parent) in FAMILY.items() if parent == "supervisor")
LEARNS = ("learning", "learning's child", "fork server", "run")
# A run is given up after three attempts, whatever ended them: the killer leaves it the last one.
RUN_AT_LAST_ATTEMPT = "SELECT COUNT(*) FROM rlhf_run WHERE state IN ('queued', 'running') AND attempt - handed_back > 1"


def find_family(house: House) -> dict[str, int]:
    """Return the processes of a house that is up, by name; the first of a kind where there are several."""
    children: dict[int, list[tuple[int, str]]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append((pid, command))
    found = {"supervisor": house.process.pid}
    for name, (word, parent) in FAMILY.items():
        pids = [pid for pid, command in children.get(found.get(parent, -1), []) if word in command]
        found |= {name: pids[0]} if pids else {}
    return found


def kill(house: House, name: str, *, within_s: float = 30.0) -> None:
    """Kill -9 a process of the house as soon as there is one of this name."""
    wait_until(lambda: name in find_family(house) and may_die(house, name), within_s, f"no {name} is there to kill")
    os.kill(find_family(house)[name], signal.SIGKILL)


def may_die(house: House, name: str) -> bool:
    """Say whether killing this one leaves every run an attempt."""
    return name not in LEARNS or house.read(RUN_AT_LAST_ATTEMPT) == [(0,)]


def kill_all(house: House, names: list[str], draw: random.Random, *, least_s: float, most_s: float) -> None:
    """Kill one process after another at random moments."""
    for name in names:
        time.sleep(draw.uniform(least_s, most_s))
        kill(house, name)


def wait_until(happens: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


class Judge(threading.Thread):
    """Judges over the API until told to stop; a vote that was not answered is sent again under the same key."""

    def __init__(self, visitor: Visitor) -> None:
        super().__init__(daemon=True)
        self.visitor = visitor
        self.is_done = threading.Event()
        self.draw = random.Random(7)
        self.stored: list[str] = []  # the keys of all votes that were answered
        self.n_resent = 0

    def stop(self) -> None:
        self.is_done.set()
        self.join(120)

    def run(self) -> None:
        while not self.is_done.wait(0.1):
            claim = self.ask("/api/v1/projects/demo/claims/", {})
            if claim is not None:
                self.vote(claim)

    def vote(self, claim: dict) -> None:
        key = str(uuid.uuid4())
        said = {"slot": claim["slot"], "lease_token": claim["lease_token"], "preference": self.draw.choice([-3, -1, 2])}
        if self.ask("/api/v1/judgments/", said | {"idempotency_key": key}) is not None:
            self.stored.append(key)

    def ask(self, path: str, said: dict) -> dict | None:
        """Post until somebody answers; None where the answer is that there is nothing, or not any more."""
        while True:
            try:
                status, body = self.visitor.post(path, said)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    return None
                self.n_resent += 1
                time.sleep(0.2)
            else:
                return json.loads(body) if status in (200, 201) else None
