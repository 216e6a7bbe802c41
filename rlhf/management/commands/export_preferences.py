"""manage.py export_preferences --project SLUG --format trl --out FOLDER: a dataset for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.contract.errors import ContractError
from rlhf.domain.datasets.export import FORMATS, export_dataset
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.errors import LearningError
from rlhf.management.commands.freeze import add_rule_arguments, describe, find_project, read_rule
from rlhf.models import Dataset


class Command(BaseCommand):
    help = "Write a frozen dataset into a folder; without --dataset the project is frozen first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True)
        parser.add_argument("--format", required=True, choices=list(FORMATS))
        parser.add_argument("--out", required=True, type=Path, help="a folder that is not there yet")
        parser.add_argument("--dataset", type=int, help="its number; without it the votes are frozen now")
        add_rule_arguments(parser)

    def handle(self, *, format: str, out: Path, dataset: int | None, **options: Any) -> None:
        project = find_project(options["project"])
        try:
            if dataset is None:
                frozen = freeze_preferences(
                    project, rule=read_rule(project, options), name=f"{project.slug} preferences"
                )
            else:
                frozen = find_dataset(project, dataset)
            files = export_dataset(frozen, format=format, path=out)
        except (LearningError, ContractError, OSError) as error:
            raise CommandError(str(error)) from error
        describe(self, frozen)
        for file in files:
            self.stdout.write(f"wrote {file}")


def find_dataset(project: Project, pk: int) -> Dataset:
    found = Dataset.objects.filter(project=project, pk=pk, sealed_at__isnull=False).first()
    if found is None:
        raise CommandError(f"project {project.slug} has no dataset {pk}; see /datasets/, or leave --dataset out")
    return found
