"""PostgreSQL killed in the middle of votes: what was answered is there afterwards; meanwhile the answer is "try again"."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.labeling.test_faults import ROOT, SEED, Labeler, Server, make_environment, wait_for_votes

pytestmark = [pytest.mark.faults]

N_LABELERS, N_KILLS, VOTES_BETWEEN_KILLS = 4, 2, 12
PROGRAMS = [
    *sorted(Path("/usr/lib/postgresql").glob("*/bin")),
    Path(shutil.which("initdb") or "/nowhere/initdb").parent,
]
WHO: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


class Postgres:
    """A PostgreSQL of the test's own, whose first process may be killed and started again."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        command = [programs / "initdb", "--auth", "trust", "--username", "postgres", "--pgdata", folder / "data"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **WHO)

    def start(self) -> None:
        """Start until it answers: what its killed processes leave behind has to be gone first."""
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        until = time.monotonic() + 120
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL, **WHO)
        while not self.answers():
            assert time.monotonic() < until, "PostgreSQL does not start"
            if self.process.poll() is not None:
                self.process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL, **WHO)
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def read(self, query: str) -> list[tuple]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    programs = next((folder for folder in PROGRAMS[::-1] if (folder / "initdb").exists()), None)
    if programs is None or (WHO and WHO["user"] not in {row.pw_name for row in pwd.getpwall()}):
        pytest.skip("there is no initdb here, or nobody whom it lets run it: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postmaster-"))
    if WHO:
        shutil.chown(folder, "postgres", "postgres")
    server = Postgres(programs, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def environment(tmp_path: Path, postgres: Postgres) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    as_in_production = {"DEBUG": "", "ALLOWED_HOSTS": "127.0.0.1"}
    return make_environment(tmp_path / "home") | as_in_production | {"DATABASE_URL": postgres.url}


@pytest.fixture
def sessions(environment: dict[str, str]) -> list[str]:
    def manage(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    manage("migrate", "--verbosity", "0")
    manage("createcachetable")
    return manage("shell", "--verbosity", "0", "--command", SEED).split()[:N_LABELERS]


class PatientLabeler(Labeler):
    """One who is told to try again, and does."""

    n_put_off = 0

    def post(self, path: str, body: dict[str, object]) -> tuple[int, bytes]:
        status, said = super().post(path, body)
        if status == 503:
            self.n_put_off += 1
            raise ConnectionError(said)
        return status, said


def test_no_answered_vote_is_lost_or_doubled_while_the_database_is_killed(
    postgres: Postgres, environment: dict[str, str], sessions: list[str]
) -> None:
    server = Server(environment).wait()
    labelers = [PatientLabeler(server.port, session) for session in sessions]
    try:
        for labeler in labelers:
            labeler.start()
        for number in range(N_KILLS):
            wait_for_votes(labelers, (number + 1) * VOTES_BETWEEN_KILLS)
            postgres.kill()
            time.sleep(1)  # votes meet no database
            postgres.start()
        wait_for_votes(labelers, (N_KILLS + 1) * VOTES_BETWEEN_KILLS)
        for labeler in labelers:
            labeler.is_done.set()
        for labeler in labelers:
            labeler.join(60)
    finally:
        server.stop()

    stored = dict(postgres.read("SELECT idempotency_key, id FROM labeling_judgment"))
    acked = {uuid.UUID(key): pk for labeler in labelers for key, pk in labeler.acked.items()}
    # A claim does not wait for the disk: where one was forgotten its pair went to another, and a vote more is an extra.
    n_placed = postgres.read("SELECT COUNT(*) FROM labeling_judgment WHERE NOT is_extra")
    n_done = postgres.read("SELECT COUNT(*) FROM labeling_slot WHERE state = 'done'")
    assert stored == acked
    assert n_done == n_placed
    assert len(stored) - n_placed[0][0] <= N_KILLS * N_LABELERS
    assert [labeler.refused for labeler in labelers] == [[]] * N_LABELERS
    assert sum(labeler.n_put_off for labeler in labelers) > 0
