"""Queue a training run; `--set` changes any setting of the kind, `--wait` stays until it is over."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from rlhf.contract.config import TRAINING_KINDS
from rlhf.management.commands._run_command import RunCommand


class Command(RunCommand):
    help = f"Train a model: {', '.join(TRAINING_KINDS[:-1])} or {TRAINING_KINDS[-1]}."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=TRAINING_KINDS)
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.launch(options["kind"], options)
