"""A web process killed in the middle of a vote: what was answered is stored, and a retry is the same vote."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults]

ROOT = Path(__file__).parent.parent.parent
N_LABELERS = 8
N_PAIRS = 400
N_KILLS = 8
VOTES_BETWEEN_KILLS = 4

SEED = f"""
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from labeling.domain.people import add_member
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Project, User

project = Project.objects.create(slug="kitchen", name="Kitchen", gold_share=0)
propose_comparisons(project, [
    Pair(messages=[{{"role": "user", "content": f"question {{n}}"}}], text_a="Boil.", text_b="Fry.")
    for n in range({N_PAIRS})
])
for n in range({N_LABELERS}):
    user = User.objects.create(username=f"labeler-{{n}}")
    add_member(project, user, role="labeler")
    session = SessionStore()
    session[SESSION_KEY] = user.pk
    session[BACKEND_SESSION_KEY] = "labeling.accounts.PasswordBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    print(session.session_key)
"""


def make_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")}
    nobody_reads = {"JUDGMENTS_PER_MINUTE": "0"}
    return kept | nobody_reads | {"PREFLOOP_HOME": str(home), "DEBUG": "True", "CELERY_BROKER_URL": "memory://"}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home with a queue and labelers, and their session keys."""
    home = tmp_path_factory.mktemp("seeded")

    def manage(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        environment = make_environment(home)
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    manage("migrate", "--verbosity", "0")
    return home, manage("shell", "--verbosity", "0", "--command", SEED).split()


@pytest.fixture
def sessions(seeded: tuple[Path, list[str]]) -> list[str]:
    return seeded[1]


@pytest.fixture
def environment(tmp_path: Path, seeded: tuple[Path, list[str]]) -> dict[str, str]:
    """A home of the test's own, as it was seeded."""
    shutil.copytree(seeded[0], tmp_path / "home")
    return make_environment(tmp_path / "home")


Serve = Callable[[str], "Server"]


class Server:
    """A real gunicorn with two children, of which one may be killed at any time; a new one is there at once."""

    def __init__(self, environment: dict[str, str], application: str = "config.wsgi:application") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port = probe.getsockname()[1]
        bind = ("--bind", f"127.0.0.1:{port}", "--workers", "2", "--log-level", "error")
        threads = ("--worker-class", "gthread", "--threads", "4", "--no-control-socket", "--preload")
        command = [sys.executable, "-m", "gunicorn", application, *bind, *threads]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment)

    def wait(self) -> Server:
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("gunicorn does not answer")

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in listed]

    def kill_child(self, number: int) -> None:
        pids = self.children()
        os.kill(pids[number % len(pids)], signal.SIGKILL)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    """Start a server in the test's home; it is stopped when the test ends."""
    servers: list[Server] = []

    def start(application: str) -> Server:
        servers.append(Server(environment, application))
        return servers[-1].wait()

    yield start
    for server in servers:
        server.stop()


class Labeler(threading.Thread):
    """Judges as fast as it can; what gets no answer it sends again under the same key until there is one."""

    def __init__(self, port: int, session: str) -> None:
        super().__init__(daemon=True)
        self.port = port
        token = "a" * 32
        self.headers = {
            "Cookie": f"sessionid={session}; csrftoken={token}",
            "X-CSRFToken": token,
            "Content-Type": "application/json",
        }
        self.is_done = threading.Event()
        self.acked: dict[str, int] = {}  # judgment by key
        self.refused: list[tuple[int, bytes]] = []
        self.n_retries = 0
        self.n_replays = 0
        self.on_retry: Callable[[], object] = lambda: None

    def run(self) -> None:
        while not self.is_done.is_set():
            self.judge_one()

    def judge_one(self) -> None:
        status, body = self.insist("projects/kitchen/claims/", {})
        if status != 200:
            self.refused.append((status, body))
            return
        key, held = str(uuid.uuid4()), json.loads(body)
        vote = {"slot": held["slot"], "lease_token": held["lease_token"], "idempotency_key": key, "preference": 1}
        status, body = self.insist("judgments/", vote)
        self.n_replays += status == 200
        if status in (200, 201):
            self.acked[key] = json.loads(body)["id"]
        else:
            self.refused.append((status, body))

    def insist(self, path: str, body: dict[str, object]) -> tuple[int, bytes]:
        """Send until someone answers, as the page's outbox does."""
        while True:
            try:
                return self.post(path, body)
            except (OSError, http.client.HTTPException):
                self.n_retries += 1
                self.on_retry()
                time.sleep(0.05)

    def post(self, path: str, body: dict[str, object]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", f"/api/v1/{path}", json.dumps(body), self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def wait_for_votes(labelers: list[Labeler], n: int) -> None:
    """Wait until so many votes were answered, however busy the machine is."""
    until = time.monotonic() + 300
    while sum(len(labeler.acked) for labeler in labelers) < n:
        assert time.monotonic() < until, "no votes are answered any more"
        time.sleep(0.01)


def read_rows(home: str, query: str) -> list[tuple]:
    with sqlite3.connect(Path(home) / "prefloop.sqlite3") as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("moment", "n_stored_at_death", "n_replays"), [("before_commit", 0, 0), ("after_commit", 1, 1)]
)
def test_a_vote_whose_server_died_is_stored_once_by_the_retry(
    environment: dict[str, str], sessions: list[str], serve: Serve, moment: str, n_stored_at_death: int, n_replays: int
) -> None:
    server = serve(f"tests.labeling.dying:{moment}")
    labeler = Labeler(server.port, sessions[0])
    home, count = environment["PREFLOOP_HOME"], "SELECT COUNT(*) FROM labeling_judgment"
    n_at_death: list[int] = []
    labeler.on_retry = lambda: n_at_death.append(read_rows(home, count)[0][0])

    labeler.judge_one()

    assert n_at_death[:1] == [n_stored_at_death]
    assert (labeler.refused, labeler.n_replays, len(labeler.acked)) == ([], n_replays, 1)
    assert read_rows(home, count) == [(1,)]
    assert read_rows(home, "SELECT COUNT(*) FROM labeling_slot WHERE state = 'done'") == [(1,)]
    assert (Path(home) / "died").exists()


def test_no_answered_vote_is_lost_doubled_or_refused_while_web_processes_are_killed(
    environment: dict[str, str], sessions: list[str], serve: Serve
) -> None:
    server = serve("config.wsgi:application")
    labelers = [Labeler(server.port, session) for session in sessions]

    for labeler in labelers:
        labeler.start()
    for number in range(N_KILLS):
        wait_for_votes(labelers, (number + 1) * VOTES_BETWEEN_KILLS)
        server.kill_child(number)
    wait_for_votes(labelers, (N_KILLS + 1) * VOTES_BETWEEN_KILLS)
    for labeler in labelers:
        labeler.is_done.set()
    for labeler in labelers:
        labeler.join(60)

    home = environment["PREFLOOP_HOME"]
    stored = {uuid.UUID(key): pk for key, pk in read_rows(home, "SELECT idempotency_key, id FROM labeling_judgment")}
    acked = {uuid.UUID(key): pk for labeler in labelers for key, pk in labeler.acked.items()}
    n_done = read_rows(home, "SELECT COUNT(*) FROM labeling_slot WHERE state = 'done'")
    n_tallied = read_rows(home, "SELECT SUM(n_judgments) FROM labeling_comparison")
    assert sum(labeler.n_retries for labeler in labelers) > 0
    assert [labeler.refused for labeler in labelers] == [[]] * N_LABELERS
    assert stored == acked
    assert n_done == n_tallied == [(len(stored),)]
    assert len(stored) > N_KILLS * VOTES_BETWEEN_KILLS
