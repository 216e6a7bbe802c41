"""Look at the loop and move it by hand."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import count_new_judgments, get_loop, start_round
from rlhf.domain.waiting import wait_for_round
from rlhf.models import Round


class Command(BaseCommand):
    help = "Show a project's rounds, or start the next one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "status"])
        parser.add_argument("--project", default="demo", help="Slug of the project.")
        parser.add_argument("--wait", action="store_true", help="With start: stay until the round is over.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project = Project.objects.get(slug=options["project"])
        except Project.DoesNotExist as error:
            raise CommandError(f"there is no project {options['project']}") from error
        if options["action"] == "status":
            self.show(project)
            return
        try:
            round = start_round(project)
            self.stdout.write(f"{round} has begun")
            if options["wait"]:
                wait_for_round(round, self.stdout.write)
                self.stdout.write(f"{round} succeeded: {round.n_queued} pairs are waiting")
        except LearningError as error:
            raise CommandError(str(error)) from error

    def show(self, project: Project) -> None:
        self.stdout.write(
            f"{count_new_judgments(project)} of {get_loop(project).threshold} new judgments for the next round"
        )
        for round in Round.objects.filter(project=project).order_by("number"):
            stages = ", ".join(f"{run.kind} {run.state}" for run in round.runs.order_by("id"))
            self.stdout.write(
                f"round {round.number}: {round.state}; {stages or 'not begun'}; {round.cause}".rstrip("; ")
            )
