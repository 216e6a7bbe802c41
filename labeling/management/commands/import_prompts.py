"""manage.py import_prompts FILE --project SLUG: prompts that wait for completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from labeling.domain.intake.detection import PROMPTS
from labeling.management.commands.import_preferences import run_import


class Command(BaseCommand):
    help = "Check a file of prompts, report on it and import it whole or not at all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help='rows of {"prompt": ...} or MT-bench\'s {"turns": [...]}')
        parser.add_argument("--project", required=True, help="slug of the project; it is made if there is none")
        parser.add_argument("--source", default="", help="name the file goes by; default: the file's name")
        parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")

    def handle(self, *, file: Path, **options: Any) -> None:
        run_import(self, file, PROMPTS, overlap=0, **options)
