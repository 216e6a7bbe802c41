"""How many rows a second each export writes, and how much memory that takes.

    PYTHONPATH=. python benchmarks/export.py [--rows 50000]

Makes pairs and judgments in a database of its own (SQLite in a temporary folder), freezes them, and writes each format
as the worker does, each in a process of its own, so that the memory is that format's alone. The target is 20,000 rows a
second, and no more memory for ten times the rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import tempfile
import time

TARGET = 20_000
WORDS = ("harbour", "island", "boat", "sails", "slowly", "home", "with", "seven", "red", "apples", "friend", "today")


def sentence(draw: random.Random) -> str:
    """Return a sentence of 8 to 60 words."""
    return " ".join(draw.choices(WORDS, k=draw.randrange(8, 61)))


def prepare(n_rows: int) -> None:
    """Fill the database: n_rows pairs frozen as a dataset, and as many judgments of comparisons, three on each."""
    start_django()
    from django.core.management import call_command  # noqa: PLC0415 -- Django is set up now
    from django.utils import timezone  # noqa: PLC0415

    from labeling.domain.pairing import Pair, propose_comparisons  # noqa: PLC0415
    from labeling.domain.people import add_member  # noqa: PLC0415
    from labeling.models import Judgment, Project, User  # noqa: PLC0415
    from rlhf.domain.datasets.shelf import freeze_rows  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    draw = random.Random(0)
    project = Project.objects.create(slug="bench", name="Bench")
    labelers = [User.objects.create(username=f"labeler{number}") for number in range(3)]
    for labeler in labelers:
        add_member(project, labeler, role="labeler")
    rows = (
        {
            "prompt": [{"role": "user", "content": f"{number} {sentence(draw)}"}],
            "chosen": [{"role": "assistant", "content": sentence(draw)}],
            "rejected": [{"role": "assistant", "content": sentence(draw)}],
            "group": f"g{number}",
            "source": "own",
        }
        for number in range(n_rows)
    )
    freeze_rows(project, kind="preference", name="bench", train=rows, test=[], rule={})
    pairs = [
        Pair(
            messages=[{"role": "user", "content": f"{number} {sentence(draw)}"}],
            text_a=f"a {sentence(draw)}",
            text_b=f"b {sentence(draw)}",
            overlap=0,
        )
        for number in range(n_rows // 3)
    ]
    for comparison in propose_comparisons(project, pairs):
        comparison.votes = [
            Judgment(
                comparison=comparison,
                labeler=labeler,
                is_extra=True,
                verdict="A",
                strength=-2,
                scale="quick",
                a_shown_left=True,
                shown_at=timezone.now(),
            )
            for labeler in labelers
        ]
        Judgment.objects.bulk_create(comparison.votes)


def measure(format: str, split: str, figures: multiprocessing.Queue) -> None:
    """Write one export as the worker does and tell its rows, bytes, seconds and memory."""
    start_django()
    from labeling.models import Project, User  # noqa: PLC0415 -- Django is set up now
    from rlhf.domain.exporting import (  # noqa: PLC0415
        request_dataset_export,
        request_judgment_export,
        write_export,
    )
    from rlhf.models import Dataset, Export  # noqa: PLC0415

    user, project = User.objects.first(), Project.objects.get()
    if format in ("judgments", "csv"):
        export = request_judgment_export(project, user, format=format, with_notes=True)
    else:
        export = request_dataset_export(Dataset.objects.get(), user, format=format, split=split)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_s = time.perf_counter()
    write_export(export.pk)
    seconds = time.perf_counter() - started_s
    done = Export.objects.get(pk=export.pk)
    assert done.state == "ready", done.cause
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    figures.put((done.n_rows, done.size, seconds, grown))


def start_django() -> None:
    import django  # noqa: PLC0415 -- reads the environment main() set

    django.setup()


def run(target, *arguments) -> None:
    """Run a step in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{target.__name__}{arguments} ended with {process.exitcode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    n_rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as home:
        os.environ |= {
            "PREFLOOP_HOME": home,
            "CELERY_BROKER_URL": "memory://",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        os.environ.pop("DATABASE_URL", None)
        run(prepare, n_rows)
        print(f"{'format':<12}{'rows':>10}{'MB':>8}{'seconds':>9}{'rows/s':>10}{'MB grown':>10}")
        for format in ("trl", "hh", "openai", "kto", "sft", "parquet", "judgments", "csv"):
            figures = multiprocessing.get_context("spawn").Queue()
            run(measure, format, "both", figures)
            rows, size, seconds, grown = figures.get()
            verdict = "" if rows / seconds >= TARGET else "  under the target"
            print(
                f"{format:<12}{rows:>10,}{size / 1e6:>8.1f}{seconds:>9.2f}{rows / seconds:>10,.0f}{grown:>10.0f}{verdict}"
            )


if __name__ == "__main__":
    main()
