"""What it costs to run inside Prefloop: the worker's claim, heartbeats, metrics and publishing, against the bare process.

    PYTHONPATH=. python benchmarks/overhead.py [--rounds 3] [--seconds 20]

The same pre-training run on one fork server, in turn bare (started, waited for) and through `execute_run` on an SQLite
database of its own. How many steps a run has is found first, so that one takes the seconds asked for and all of it less
than three minutes, on any machine. Prints the medians of the seconds from start to end and their ratio, and what the
worker itself computed: its CPU seconds over the run's, which a busy neighbour does not blur. The target is 2 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

HOME = tempfile.mkdtemp(prefix="overhead-")
os.environ.update(DJANGO_SETTINGS_MODULE="config.settings", PREFLOOP_HOME=HOME, CELERY_BROKER_URL="memory://")
os.environ.pop("DATABASE_URL", None)

import django  # noqa: E402 -- after the environment it reads

django.setup()

from django.core.management import call_command  # noqa: E402 -- after the environment it reads

from labeling.models import Project  # noqa: E402 -- after the environment it reads
from rlhf.contract.kinds.pretrain import PretrainConfig  # noqa: E402 -- after the environment it reads
from rlhf.contract.run_dir import DATA, EXIT_DONE, prepare_run_dir  # noqa: E402 -- after the environment it reads
from rlhf.domain import runs  # noqa: E402 -- after the environment it reads
from rlhf.domain.datasets.shelf import freeze_rows, materialize_dataset  # noqa: E402 -- after the environment it reads
from rlhf.domain.execution import execute_run  # noqa: E402 -- after the environment it reads
from rlhf.domain.launching import LearningServer  # noqa: E402 -- after the environment it reads
from rlhf.models import Dataset  # noqa: E402 -- after the environment it reads

TARGET = 0.02
N_PROBED = 5
ROWS = [
    {"text": f"The cat number {number} sat on the mat and looked at the moon over the harbour."}
    for number in range(400)
]


def time_bare(config: PretrainConfig, dataset: Dataset, folder: Path, server: LearningServer) -> float:
    """Return the seconds of a process that nobody watches but for its end."""
    prepare_run_dir(folder, config)
    materialize_dataset(dataset, folder / DATA)
    started_s = time.monotonic()
    code = server.launch(folder, is_unwanted=lambda: False).wait(3600.0)
    if code != EXIT_DONE:
        raise SystemExit(f"the bare run in {folder} ended with {code}")
    return time.monotonic() - started_s


def time_watched(
    project: Project, config: PretrainConfig, dataset: Dataset, server: LearningServer
) -> tuple[float, float]:
    """Return the seconds of the same run through the worker, from its claim on, and the CPU seconds of the worker."""
    run = runs.create_run(project, config, dataset=dataset)
    started_s, computed_s = time.monotonic(), time.process_time()
    done = execute_run(run.pk, server=server, is_stopping=lambda: False)
    if done is None or done.state != "succeeded":
        raise SystemExit(f"the watched run ended as {done and done.state}: {done and done.cause}")
    return time.monotonic() - started_s, time.process_time() - computed_s


def find_steps(config: PretrainConfig, dataset: Dataset, server: LearningServer, *, seconds: float) -> int:
    """Return how many steps take about so many seconds, by the difference of two short runs; the first warms up."""
    _, few, more = (
        time_bare(config.replace(max_steps=n), dataset, Path(HOME) / f"probe-{place}", server)
        for place, n in enumerate((N_PROBED, N_PROBED, 3 * N_PROBED))
    )
    return max(N_PROBED, round(2 * N_PROBED * seconds / max(more - few, 0.01)))


def main(n_rounds: int, seconds: float) -> None:
    """Measure in turn and print."""
    call_command("migrate", verbosity=0)
    project = Project.objects.create(slug="overhead", name="Overhead")
    dataset = freeze_rows(project, kind="text", name="cats", train=ROWS, test=ROWS[:20], rule={})
    config = PretrainConfig(vocab_size=512, save_steps=10_000)
    server = LearningServer()
    bare, watched, computed = [], [], []
    try:
        config = config.replace(max_steps=find_steps(config, dataset, server, seconds=seconds))
        print(f"{config.max_steps} steps a run, {n_rounds} runs each way", flush=True)
        for number in range(n_rounds):
            bare.append(time_bare(config, dataset, Path(HOME) / f"bare-{number}", server))
            took_s, computed_s = time_watched(project, config, dataset, server)
            watched.append(took_s)
            computed.append(computed_s)
    finally:
        server.stop()
    bare_s, watched_s = statistics.median(bare), statistics.median(watched)
    share = sum(computed) / sum(watched)
    print(f"bare {bare_s:.2f} s, in Prefloop {watched_s:.2f} s: {watched_s / bare_s - 1:+.1%} (medians of {n_rounds})")
    verdict = "" if share < TARGET else f", over the target of {TARGET:.0%}"
    print(f"the worker computed {share:.2%} of the time{verdict}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one run")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.seconds)
