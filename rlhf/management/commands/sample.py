"""Draw completions from a policy for the project's prompts, and queue them as comparisons if asked."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from rlhf.domain.queueing import queue_samples
from rlhf.management.commands._run_command import RunCommand


class Command(RunCommand):
    help = "Draw completions for the project's prompts from a policy."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--queue", action="store_true", help="Put one pair a prompt into the queue (waits for the run)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        run = self.launch("sample", options | {"wait": options["wait"] or options["queue"]})
        if options["queue"]:
            self.stdout.write(
                f"{queue_samples(run, priority=0)} comparisons are waiting at {run.project.get_absolute_url()}"
            )
