"""The house a benchmark of the queue measures: a database of its own, the web server, an import, and what they compute."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

ROOT = Path(__file__).parents[2]
DATABASE = ("-m", "benchmarks.queueing.database")
LOCAL_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
TEXT = "Put the egg into boiling water, wait for eight minutes, and cool it under the tap. " * 4


@contextmanager
def make_database(database: str, home: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a database of its own, and drop it afterwards."""
    environment = os.environ | {"PREFLOOP_HOME": str(home), "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
    environment |= {"PORT": str(find_port()), "CELERY_BROKER_URL": "memory://"}
    environment |= {"JUDGMENTS_PER_MINUTE": "0", "PYTHONUNBUFFERED": "1"}  # nobody here reads
    if database == "sqlite":
        yield environment
        return
    url = os.environ.get("DATABASE_URL", "")
    server, name = (url if url.startswith("postgres") else LOCAL_POSTGRES), f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield environment | {"DATABASE_URL": server.rpartition("/")[0] + f"/{name}"}
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def serve(environment: dict[str, str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a web server that answers."""
    with (home / "web.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, *DATABASE, "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    port = int(environment["PORT"])
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionError:
                time.sleep(0.1)
        yield server
    finally:
        server.terminate()
        server.wait()


class Meter:
    """Counts what the web server's processes and the database's compute; 0 where there is no /proc, or it is elsewhere."""

    def __init__(self, environment: dict[str, str], server: subprocess.Popen[bytes]) -> None:
        self.database = environment["DATABASE_URL"].rpartition("/")[2]
        self.server = server.pid
        self.start()

    def start(self) -> None:
        self.before = self.read_s()

    def read_s(self) -> tuple[float, float]:
        """Return the seconds computed so far: web, database."""
        web_s = database_s = 0.0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                stat, line = path.read_text().rpartition(")")[2].split(), (path.parent / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            spent_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
            web_s += spent_s * (int(stat[1]) == self.server)
            database_s += spent_s * bool(self.database and f" {self.database} ".encode() in line)
        return web_s, database_s

    def read_ms(self, n: int) -> tuple[float, float]:
        """Return what each of n judgments since the start took: web, database."""
        web_s, database_s = (now - before for now, before in zip(self.read_s(), self.before, strict=True))
        return 1000 * web_s / n, 1000 * database_s / n


@contextmanager
def importing(environment: dict[str, str], home: Path, n: int) -> Iterator[subprocess.Popen[str]]:
    """Yield an import of n pairs into the same project that has been checked and is being stored."""
    path = home / "import.jsonl"
    with path.open("w") as file:
        for number in range(n):
            row = {"prompt": f"question {number}?", "chosen": f"{number} {TEXT}", "rejected": f"no {number}"}
            file.write(json.dumps(row) + "\n")
    command = [sys.executable, "manage.py", "import_preferences", str(path), "--project", "bench", "--overlap", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        for line in process.stdout:
            if line.strip().endswith("bad rows"):  # the last line of its report: from here on it writes
                break
        yield process
    finally:
        process.kill()
        process.wait()
