"""How fast the queue is: claim and submit over HTTP by many labelers at once, on SQLite and PostgreSQL.

    PYTHONPATH=. python benchmarks/queue.py [--database sqlite postgres] [--comparisons 10000 1000000] [--import]

Every database is made for the run and thrown away: SQLite in a temporary home, PostgreSQL as a scratch database on
DATABASE_URL's server or the one on 127.0.0.1:5432. The web server is started as `manage.py up` starts it. Labelers keep
their connections and judge by POST /api/v1/judgments/, whose answer is the next claim: one request is one judgment
with its claim. First they go flat out, then - the target's p99 - at the target's rate, measured from when each
request was due. Doubles are comparisons one labeler judged twice, over-labelled ones have more judgments than overlap:
both must be 0. Given several sizes, the last line is the greatest to the least. --import imports a file beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, Python looks into this folder first, and finds this file where the standard library's queue is meant.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent.resolve()]
if __name__ == "queue":
    del sys.modules[__name__]
    __import__(__name__)

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from typing import Any  # noqa: E402

import psycopg  # noqa: E402

ROOT = Path(__file__).parents[1]
LOCAL_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
TARGETS = {"sqlite": (50, 500), "postgres": (300, 200)}  # judgments a second, p99 in ms
OVERLAP = 3
N_IMPORTED = 20_000
SPREAD = 3_000_000_019  # slots have ids drawn at random
COMPLETION = "Put the egg into boiling water, wait for eight minutes, and cool it under the tap. " * 4
CSRF = "benchmark" * 3 + "token"


# --- what runs as a child, with the database's environment -------------------------------------------------------------
def prepare(n_comparisons: int, n_labelers: int) -> list[str]:
    """Fill the migrated database and return a session key for each labeler."""
    from django.conf import settings  # noqa: PLC0415 -- needs Django set up
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: PLC0415 -- needs Django set up
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415 -- needs Django set up

    from labeling.models import Membership, Project, User  # noqa: PLC0415 -- needs Django set up

    project = Project.objects.create(slug="bench", name="Bench", overlap=OVERLAP)
    keys = []
    for number in range(n_labelers):
        user = User.objects.create(username=f"labeler-{number}", password="!")
        Membership.objects.create(project=project, user=user)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        keys.append(session.session_key)
    fill(project.pk, n_comparisons)
    return keys


def fill(project_id: int, n: int) -> None:
    """Insert n comparisons with their texts and slots, by the database's own counting; guards look away meanwhile."""
    from django.db import connection  # noqa: PLC0415 -- needs Django set up

    is_sqlite = connection.vendor == "sqlite"
    json_type, now = ("TEXT", "CURRENT_TIMESTAMP") if is_sqlite else ("jsonb", "now()")
    common = {"project_id": project_id}
    queue = {"priority": 0, "score": 0, "reason": "'random'", "propensity": 1}
    messages = f"""CAST('[{{"role": "user", "content": "How do I boil egg ' || i || '?"}}]' AS {json_type})"""
    tables: list[tuple[str, dict[str, object]]] = [
        (
            "prompt",
            common | {"id": "i", "messages": messages, "content_sha": "'p' || i", '"group"': "'g' || i"}
            | {"is_held_out": "FALSE", "created_at": now},
        ),
        *(
            ("completion", {"id": f"2 * i - {side}", "prompt_id": "i", "text": f"'{side} {COMPLETION}'"}
             | {"content_sha": f"'{side}'"})
            for side in (1, 0)
        ),
        (
            "comparison",
            common | queue | {"id": "i", "prompt_id": "i", "completion_a_id": "2 * i - 1", "completion_b_id": "2 * i"}
            | {"content_sha": "'c' || i", "overlap": OVERLAP, "state": "'open'", "n_judgments": 0, "spread": 0}
            | {"is_split": "FALSE", "created_at": now},
        ),
        *(
            (
                "slot",
                common | queue | {"id": f"({OVERLAP} * i - {number}) * {SPREAD} % {2**53 - 111}"}
                | {"comparison_id": "i", "number": number}
                | {"shuffle": f"((i + {number * 7919}) * 2654435761) % 2147483648", "state": "'free'"}
                | {"a_shown_left": f"i % 2 = {number % 2}"},
            )
            for number in range(OVERLAP)
        ),
    ]  # fmt: skip
    with connection.cursor() as cursor:
        if is_sqlite:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            guards = cursor.fetchall()
            for name, _ in guards:
                cursor.execute(f"DROP TRIGGER {name}")
        else:
            cursor.execute("SET session_replication_role = replica")
        for table, columns in tables:
            names, values = ", ".join(columns), ", ".join(map(str, columns.values()))
            counting = f"WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {n})"
            # What comes first in SQL differs by one word: SQLite wants the count before INSERT, PostgreSQL takes it too.
            cursor.execute(f"{counting} INSERT INTO labeling_{table} ({names}) SELECT {values} FROM n")
            if not is_sqlite and table != "slot":
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('labeling_{table}', 'id'), (SELECT max(id) FROM labeling_{table}))"
                )
        if is_sqlite:
            for _, sql in guards:
                cursor.execute(sql)
        else:
            cursor.execute("VACUUM ANALYZE")


def count_faults() -> dict[str, int]:
    """Return what must be 0, and how many judgments were stored."""
    from django.db.models import Count, F, Q  # noqa: PLC0415 -- needs Django set up

    from labeling.models import Comparison, Judgment  # noqa: PLC0415 -- needs Django set up

    pairs = Judgment.objects.filter(revises=None).values("comparison", "labeler").annotate(n=Count("id"))
    judged = Comparison.objects.filter(pk__in=Judgment.objects.values("comparison"))
    counted = judged.annotate(n=Count("judgments", filter=Q(judgments__slot__number__lt=1_000_000)))
    return {
        "doubles": pairs.filter(n__gt=1).count(),
        "over": counted.filter(n__gt=F("overlap")).count(),
        "stored": Judgment.objects.count(),
    }


def run_child(act: str, *arguments: str) -> None:
    """Do one act inside Django and print its result, or become the web server."""
    import django  # noqa: PLC0415 -- the environment names the database by now

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    if act == "serve":
        from rlhf.domain.supervision import web_service  # noqa: PLC0415 -- needs Django set up

        command = web_service("127.0.0.1").command
        os.execv(command[0], command)
    result = count_faults() if act == "count" else prepare(*map(int, arguments))
    print(json.dumps(result))


# --- the labelers ------------------------------------------------------------------------------------------------------
class ServerError(Exception):
    """The server answered with an error."""


@dataclass
class Labeler:
    """One keep-alive connection that judges whatever it is given."""

    port: int
    session: str
    spent_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    claim: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self.port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send JSON and return the JSON that comes back; a server that closes an idle connection is asked anew."""
        payload = json.dumps(body)
        lines = [
            f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"X-CSRFToken: {CSRF}",
            f"Cookie: sessionid={self.session}; csrftoken={CSRF}", f"Content-Length: {len(payload)}", "", payload,
        ]  # fmt: skip
        request = "\r\n".join(lines).encode()
        try:
            self.connection.sendall(request)
            return self.receive()
        except ConnectionError:
            self.__post_init__()
            self.connection.sendall(request)
            return self.receive()

    def receive(self) -> dict[str, Any]:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self.connection.recv(65536)):
                raise ConnectionError
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self.connection.recv(65536)
        if status not in (200, 201, 204):
            raise ServerError(f"{status} {body[:200].decode(errors='replace')}")
        return json.loads(body) if body else {}

    def work(self, until: float, interval_s: float) -> None:
        """Judge until the time is up; interval_s 0 is flat out."""
        self.claim = self.claim or self.ask()
        due = time.monotonic() + random.random() * interval_s
        while self.claim and time.monotonic() < until and (due := due if interval_s else time.monotonic()) < until:
            time.sleep(max(0.0, due - time.monotonic()))
            vote = {name: self.claim[name] for name in ("slot", "lease_token")}
            vote |= {"idempotency_key": str(uuid.uuid4()), "preference": random.randint(-3, 3), "claim_next": True}
            try:
                self.claim = self.post("/api/v1/judgments/", vote)["next"]
            except ServerError as error:
                self.errors.append(str(error))
                self.claim = self.ask()
            self.spent_ms.append(1000 * (time.monotonic() - due))
            due += interval_s

    def ask(self) -> dict[str, Any] | None:
        """Return a claim, or None where the server gives none; errors are kept."""
        for _ in range(5):
            try:
                return self.post("/api/v1/projects/bench/claims/", {}) or None
            except ServerError as error:
                self.errors.append(str(error))
        return None


def drive(labelers: list[Labeler], seconds: float, *, rate: float = 0.0) -> tuple[float, list[float]]:
    """Let all judge at once, `rate` a second together or flat out, and return the rate reached and the sorted times."""
    for labeler in labelers:
        labeler.spent_ms = []
    started = time.monotonic()
    until = started + seconds
    interval_s = len(labelers) / rate if rate else 0.0
    threads = [threading.Thread(target=labeler.work, args=(until, interval_s)) for labeler in labelers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent_ms = sorted(spent for labeler in labelers for spent in labeler.spent_ms)
    return len(spent_ms) / (time.monotonic() - started), spent_ms


# --- the house ---------------------------------------------------------------------------------------------------------
@contextmanager
def make_database(database: str, home: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a database of its own, and drop it afterwards."""
    environment = os.environ | {"PREFLOOP_HOME": str(home), "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
    environment |= {"PORT": str(find_port()), "CELERY_BROKER_URL": "memory://"}
    environment |= {"JUDGMENTS_PER_MINUTE": "0"}  # nobody here reads
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
            [sys.executable, __file__, "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
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


def read_cpu_s(parent: int) -> float:
    """Return the seconds the children of a process have computed, or 0 where there is no /proc."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats if int(stat[1]) == parent) / os.sysconf("SC_CLK_TCK")


@contextmanager
def importing(environment: dict[str, str], home: Path, *, is_wanted: bool) -> Iterator[None]:
    """Import a file into the same project, for as long as it takes."""
    if not is_wanted:
        yield
        return
    path = home / "import.jsonl"
    with path.open("w") as file:
        for number in range(N_IMPORTED):
            row = {"prompt": f"question {number}?", "chosen": f"{number} {COMPLETION}", "rejected": f"no {number}"}
            file.write(json.dumps(row) + "\n")
    command = [sys.executable, "manage.py", "import_preferences", str(path), "--project", "bench", "--overlap", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    yield
    print(f"  the import of {N_IMPORTED:,} pairs {'had ended before' if process.poll() == 0 else 'ran all the while'}")
    process.kill()
    process.wait()


def measure(database: str, n_comparisons: int, options: argparse.Namespace) -> float:
    """Measure one size on one database, print its rows, and return the rate reached flat out."""
    target_rate, target_ms = TARGETS[database]
    home = Path(tempfile.mkdtemp(prefix="queue-"))
    try:
        with make_database(database, home) as environment:
            call(environment, "manage.py", "migrate", "--verbosity", "0")
            call(environment, "manage.py", "createcachetable")
            started_s = time.monotonic()
            keys = json.loads(call(environment, __file__, "prepare", str(n_comparisons), str(options.labelers)))
            size = f"{n_comparisons:,} x {OVERLAP}"
            print(
                f"{database}: {size} slots made in {time.monotonic() - started_s:.0f} s, load {os.getloadavg()[0]:.1f}"
            )
            with serve(environment, home) as server:
                labelers = [Labeler(int(environment["PORT"]), key) for key in keys]
                drive(labelers, 2.0, rate=target_rate)  # the first requests load the house
                with importing(environment, home, is_wanted=options.importing):
                    before_s = read_cpu_s(server.pid)
                    flat_out, spent_ms = drive(labelers[: options.busy], options.seconds)
                    print_row("flat out", flat_out, spent_ms)
                    cpu_ms = 1000 * (read_cpu_s(server.pid) - before_s) / len(spent_ms)
                    print(f"  the web server computes {cpu_ms:.1f} ms a judgment, load {os.getloadavg()[0]:.1f}")
                    rate, spent_ms = drive(labelers, options.seconds, rate=target_rate)
                    print_row(f"at {target_rate}/s", rate, spent_ms)
            faults = {"errors": print_errors(labelers)} | json.loads(call(environment, __file__, "count"))
            print("  " + ", ".join(f"{name} {n:,}" for name, n in faults.items()))
            if (
                faults["errors"]
                or faults["doubles"]
                or faults["over"]
                or rate < 0.95 * target_rate
                or percentile(spent_ms, 99) > target_ms
            ):
                print(
                    f"  short of the target: {target_rate}/s with p99 under {target_ms} ms, no errors, no doubles, none over"
                )
            return flat_out
    finally:
        shutil.rmtree(home, ignore_errors=True)


def print_errors(labelers: list[Labeler]) -> int:
    """Print what the server refused, each kind once, and return how often it did."""
    errors = Counter(error for labeler in labelers for error in labeler.errors)
    for error, n in errors.most_common(5):
        print(f"  {n:,} times: {error}")
    return errors.total()


def print_row(name: str, rate: float, spent_ms: list[float]) -> None:
    times = "".join(f"{percentile(spent_ms, share):8.0f}" for share in (50, 95, 99))
    print(f"  {name:10}{rate:8.0f}/s   p50, p95, p99 in ms{times}")


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1 and sys.argv[1] in ("prepare", "count", "serve"):
        run_child(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--comparisons", nargs="+", type=int, default=[10_000])
    parser.add_argument("--labelers", type=int, default=64)
    parser.add_argument("--busy", type=int, default=16, help="labelers at once when they go flat out")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--import", dest="importing", action="store_true", help="run an import beside it")
    options = parser.parse_args()
    for database in options.database:
        rates = [measure(database, n, options) for n in sorted(options.comparisons)]
        if len(rates) > 1:
            print(f"{database}: {rates[-1] / rates[0]:.2f} of the rate of the least size at the greatest")


if __name__ == "__main__":
    main()
