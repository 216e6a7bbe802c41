"""How fast the queue is: claim and submit over HTTP by many labelers at once, on SQLite and PostgreSQL.

    PYTHONPATH=. python benchmarks/queue.py [--database sqlite postgres] [--comparisons 10000 1000000] [--import]

Every database is made for the run and thrown away: SQLite in a temporary home, PostgreSQL as a scratch database on
DATABASE_URL's server or the one on 127.0.0.1:5432. The web server is started as `manage.py up` starts it. Labelers keep
their connections and judge by POST /api/v1/judgments/, whose answer is the next claim: one request is one judgment
with its claim. First they go flat out, then - the target's p99 - at the target's rate, measured from when each
request was due. They compute on the same cores as what they measure, so their share is told. Doubles are comparisons
one labeler judged twice, over-labelled ones have more judgments than overlap: both must be 0. Given several sizes, the
last line is the greatest to the least. --import measures the target's rate alone, while a file is being stored.
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
import shutil  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402

from benchmarks.queueing.house import DATABASE, Meter, call, importing, make_database, serve  # noqa: E402
from benchmarks.queueing.labelers import Drive, Labeler, drive  # noqa: E402

TARGETS = {"sqlite": (50, 500), "postgres": (300, 200)}  # judgments a second, p99 in ms
WARM_UP_S = 3.0  # the first requests load the house


def measure(database: str, n_comparisons: int, options: argparse.Namespace) -> float:
    """Measure one size on one database, print its rows, and return the rate reached flat out, or beside the import."""
    home = Path(tempfile.mkdtemp(prefix="queue-"))
    try:
        with make_database(database, home) as environment:
            call(environment, "manage.py", "migrate", "--verbosity", "0")
            call(environment, "manage.py", "createcachetable")
            began_s = time.monotonic()
            keys = json.loads(call(environment, *DATABASE, "prepare", str(n_comparisons), str(options.labelers)))
            took_s = time.monotonic() - began_s
            print(f"{database}: {n_comparisons:,} x 3 slots made in {took_s:.0f} s, load {os.getloadavg()[0]:.1f}")
            with serve(environment, home) as server:
                labelers = [Labeler(int(environment["PORT"]), key) for key in keys]
                drive(labelers, WARM_UP_S, rate=TARGETS[database][0])
                meter = Meter(environment, server)
                if options.importing:
                    paced, notes = drive_beside_import(database, labelers, meter, environment, home, options)
                    first = paced
                else:
                    first = drive_and_print("flat out", labelers[: options.busy], meter, options.seconds)
                    paced, notes = drive_at_target(database, labelers, meter, options.seconds), []
            faults = {"errors": print_errors(labelers)} | json.loads(call(environment, *DATABASE, "count"))
            print("  " + ", ".join(f"{name} {n:,}" for name, n in faults.items()))
            print_verdict(database, paced, faults, notes)
            return first.rate
    finally:
        shutil.rmtree(home, ignore_errors=True)


def drive_beside_import(
    database: str,
    labelers: list[Labeler],
    meter: Meter,
    environment: dict[str, str],
    home: Path,
    options: argparse.Namespace,
) -> tuple[Drive, list[str]]:
    """Drive at the target's rate while a file is being stored, and say so where that was over before."""
    with importing(environment, home, options.imported) as process:
        paced = drive_at_target(database, labelers, meter, options.seconds)
        has_ended = process.poll() is not None
    print(f"  the import of {options.imported:,} pairs {'had ended before' if has_ended else 'ran all the while'}")
    return paced, ["the import had ended before: give it more pairs by --imported"] if has_ended else []


def drive_at_target(database: str, labelers: list[Labeler], meter: Meter, seconds: float) -> Drive:
    rate = TARGETS[database][0]
    return drive_and_print(f"at {rate}/s", labelers, meter, seconds, rate=rate)


def drive_and_print(name: str, labelers: list[Labeler], meter: Meter, seconds: float, *, rate: float = 0.0) -> Drive:
    """Let labelers work, and print how fast it went and what computed how much for it."""
    meter.start()
    driven = drive(labelers, seconds, rate=rate)
    web_ms, database_ms = meter.read_ms(max(1, len(driven.spent_ms)))
    times = "".join(f"{percentile(driven.spent_ms, share):8.0f}" for share in (50, 95, 99))
    print(f"  {name:10}{driven.rate:8.0f}/s   p50, p95, p99 in ms{times}")
    computed = f"web {web_ms:.1f}, postgres {database_ms:.1f}, these labelers {driven.cpu_ms:.1f}"
    print(f"  {'':10}ms computed a judgment: {computed}; load {os.getloadavg()[0]:.1f}")
    return driven


def print_verdict(database: str, paced: Drive, faults: dict[str, int], notes: list[str]) -> None:
    """Print what the target was where it was missed, and why nothing can be said of it where that is so."""
    rate, p99_ms = TARGETS[database]
    is_clean = not (faults["errors"] or faults["doubles"] or faults["over"])
    if notes or not is_clean or paced.rate < 0.95 * rate or percentile(paced.spent_ms, 99) > p99_ms:
        said = "; ".join([f"{rate}/s with p99 under {p99_ms} ms, no errors, no doubles, none over", *notes])
        print(f"  short of the target: {said}")


def print_errors(labelers: list[Labeler]) -> int:
    """Print what the server refused, each kind once, and return how often it did."""
    errors = Counter(error for labeler in labelers for error in labeler.errors)
    for error, n in errors.most_common(5):
        print(f"  {n:,} times: {error}")
    return errors.total()


def percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1] if len(values) > 1 else float("inf")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--comparisons", nargs="+", type=int, default=[10_000])
    parser.add_argument("--labelers", type=int, default=64)
    parser.add_argument("--busy", type=int, default=16, help="labelers at once when they go flat out")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--import", dest="importing", action="store_true", help="measure beside an import")
    parser.add_argument("--imported", type=int, default=40_000, help="pairs the import stores")
    options = parser.parse_args()
    for database in options.database:
        rates = [measure(database, n, options) for n in sorted(options.comparisons)]
        if len(rates) > 1:
            print(f"{database}: {rates[-1] / rates[0]:.2f} of the rate of the least size at the greatest")


if __name__ == "__main__":
    main()
