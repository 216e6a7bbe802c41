"""What it costs to run inside Prefloop: the worker's claim, heartbeats, metrics and publishing, against the bare process.

    PYTHONPATH=. python benchmarks/overhead.py [--rounds 3] [--steps 300]

The same pre-training run on one fork server, in turn bare (started, waited for) and through `execute_run` on an SQLite
database of its own. Prints the medians of the seconds from start to end and their ratio, and what the worker itself
computed: its CPU seconds over the run's, which a busy neighbour does not blur. The target is 2 %.
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


def main(n_rounds: int, n_steps: int) -> None:
    """Measure in turn and print."""
    call_command("migrate", verbosity=0)
    project = Project.objects.create(slug="overhead", name="Overhead")
    dataset = freeze_rows(project, kind="text", name="cats", train=ROWS, test=ROWS[:20], rule={})
    config = PretrainConfig(max_steps=n_steps, vocab_size=512, save_steps=10_000)
    server = LearningServer()
    bare, watched, computed = [], [], []
    try:
        time_bare(config.replace(max_steps=5), dataset, Path(HOME) / "warm-up", server)
        for number in range(n_rounds):
            bare.append(time_bare(config, dataset, Path(HOME) / f"bare-{number}", server))
            seconds, computed_s = time_watched(project, config, dataset, server)
            watched.append(seconds)
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
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.steps)
