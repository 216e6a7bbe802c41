"""manage.py import_benchmark FILE --project SLUG: comparisons made elsewhere become a test set that never teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.domain.errors import LabelingError
from rlhf.domain.datasets.test_sets import FORMATS, import_benchmark, list_known
from rlhf.management.commands.freeze import find_project


class Command(BaseCommand):
    help = "Import comparisons as a test set. No run learns from it, and no freeze takes its prompts from then on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="JSON lines, a JSON array or Parquet, gzip or not")
        parser.add_argument("--project", required=True)
        parser.add_argument("--format", choices=["auto", *FORMATS], default="auto")
        parser.add_argument("--name", default="", help="default: the file's name")

    def handle(self, *, file: Path, format: str, name: str, **options: Any) -> None:
        project = find_project(options["project"])
        try:
            dataset = import_benchmark(project, file, format=format, name=name)
        except LabelingError as error:
            raise CommandError(str(error)) from error
        subsets = ", ".join(f"{subset or 'no subset'} {n}" for subset, n in dataset.counts["subsets"].items())
        self.stdout.write(
            f"test set {dataset.pk}, {dataset.name}: {dataset.n_test} pairs on {dataset.counts['prompts']} prompts "
            f"({subsets})"
        )
        if n_known := sum(1 for _ in list_known(project, dataset)):
            self.stdout.write(
                self.style.WARNING(
                    f"{n_known} of its prompts are in the project: models trained before may have seen them, and no "
                    "freeze takes them from now on"
                )
            )
        self.stdout.write(f"measure on it: manage.py evaluate --project {project.slug} --dataset {dataset.pk}")
