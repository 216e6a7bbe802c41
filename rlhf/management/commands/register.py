"""manage.py register FOLDER --project SLUG: a model of one's own, or one of the Hub that the host allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.domain.checkpoints import register_folder
from rlhf.domain.errors import LearningError
from rlhf.domain.hub import register_hub_model
from rlhf.models import Checkpoint


class Command(BaseCommand):
    help = "Register a model: a Hugging Face model folder, or a Hub id among HUB_MODELS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="Path of a folder, or owner/name on the Hub.")
        parser.add_argument("--project", required=True)
        parser.add_argument("--name", default="", help="What it is called here (default: the last part of the model).")
        parser.add_argument("--kind", choices=Checkpoint.Kind.values, default=Checkpoint.Kind.POLICY)

    def handle(self, *, model: str, kind: str, name: str, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']}: make it at /projects/")
        folder = Path(model).resolve()
        name = name or folder.name
        try:
            if folder.is_dir():
                checkpoint = register_folder(project, folder, kind=kind, name=name)
            else:
                checkpoint = register_hub_model(project, model, kind=kind, name=name)
        except LearningError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{checkpoint} is registered; see {checkpoint.get_absolute_url()}")
