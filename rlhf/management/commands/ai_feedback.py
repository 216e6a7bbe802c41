"""AI feedback by hand: write the constitution, add annotators, ask, examine and route them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.domain.errors import LearningError
from rlhf.domain.feedback.annotators import add_annotator, retire_annotator, warn_of_kin
from rlhf.domain.feedback.asking import ask_comparisons, ask_revisions
from rlhf.domain.feedback.constitutions import STARTER, find_newest, write_constitution
from rlhf.domain.feedback.exam import list_exam_comparisons, take_exam
from rlhf.domain.feedback.overview import list_revisable, list_standings
from rlhf.domain.feedback.report import describe_report, list_reports, list_runs, start_report
from rlhf.domain.feedback.routing import route_judgments
from rlhf.domain.planning import default_config
from rlhf.domain.waiting import wait_for_run
from rlhf.management.commands._run_command import find_checkpoint
from rlhf.models import Annotator, Run

ACTS = ("constitution", "annotator", "judge", "revise", "exam", "route", "report", "retire", "status")


class Command(BaseCommand):
    help = "Let models compare and revise by written principles, and see whether they may."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=ACTS)
        parser.add_argument("name", nargs="?", default="", help="Of the annotator; report: none takes all that passed.")
        parser.add_argument("--project", default="demo", help="Slug of the project.")
        parser.add_argument("--file", type=Path, help="constitution: JSON list of principles (default: ours).")
        parser.add_argument("--note", default="", help="constitution: what changed.")
        parser.add_argument("--checkpoint", help="annotator: name or id of a policy of the project.")
        parser.add_argument("--endpoint", default="", help="annotator: base URL, up to and with /v1.")
        parser.add_argument("--model", default="", help="annotator: what the endpoint calls its model.")
        parser.add_argument("--key-name", default="", help="annotator: variable with the key, AI_KEY_...")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="of an annotator, or of a report's runs.",
        )
        parser.add_argument("--weight", type=float, default=0.5, help="annotator: of its rows in a dataset.")
        parser.add_argument("--n", type=int, default=1000, help="judge, revise: how many.")
        parser.add_argument("--turns", type=int, default=1, help="revise: rewritings of each completion, 4 at most.")
        parser.add_argument("--for-exam", action="store_true", help="judge: what people have judged, for the exam.")
        parser.add_argument("--route", action="store_true", help="judge: send what it is unsure of to people, too.")
        parser.add_argument(
            "--wait", action="store_true", help="judge, revise, route, report: stay until the runs are over."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project = Project.objects.get(slug=options["project"])
            act = getattr(self, f"do_{options['act']}")
            act(project, options)
        except Project.DoesNotExist as error:
            raise CommandError(f"there is no project {options['project']}") from error
        except (LearningError, ContractError, OSError) as error:
            raise CommandError(str(error)) from error

    def do_constitution(self, project: Project, options: dict[str, Any]) -> None:
        try:
            written = json.loads(options["file"].read_text("utf-8")) if options["file"] else STARTER
        except ValueError as error:
            raise CommandError(f"{options['file']} is not JSON: {error}") from error
        if not isinstance(written, list):
            raise CommandError(f"{options['file']} must hold a list of principles")
        if options["file"] is None and (newest := find_newest(project)) is not None:
            self.stdout.write(f"{newest}: {len(newest.principles)} principles; name a --file to write the next version")
            return
        constitution = write_constitution(project, written, note=options["note"])
        self.stdout.write(f"{constitution}: {len(constitution.principles)} principles")

    def do_annotator(self, project: Project, options: dict[str, Any]) -> None:
        if not options["name"]:
            raise CommandError("name the annotator: manage.py ai_feedback annotator NAME --checkpoint ID")
        annotator = add_annotator(
            project,
            options["name"],
            checkpoint=find_checkpoint(options["checkpoint"]),
            endpoint=options["endpoint"],
            model=options["model"],
            key_name=options["key_name"],
            decoding=read_settings(options["set"]),
            weight=options["weight"],
        )
        self.stdout.write(f"{annotator} judges by {annotator.constitution}; its exam is still to come")
        if warning := warn_of_kin(annotator):
            self.stdout.write(warning)

    def do_judge(self, project: Project, options: dict[str, Any]) -> None:
        annotator = find_annotator(project, options["name"])
        chosen = list_exam_comparisons(annotator)[: options["n"]] if options["for_exam"] else None
        self.follow(ask_comparisons(annotator, chosen, n=options["n"], route=options["route"]), options)

    def do_revise(self, project: Project, options: dict[str, Any]) -> None:
        annotator = find_annotator(project, options["name"])
        completions = list_revisable(annotator, options["n"])
        self.follow(ask_revisions(annotator, completions, n_turns=options["turns"]), options)

    def do_exam(self, project: Project, options: dict[str, Any]) -> None:
        annotator = find_annotator(project, options["name"])
        result = take_exam(annotator)
        self.stdout.write(
            f"{annotator} {annotator.get_exam_display()}: {result.n_items} comparisons, agreement {result.agreement:.1%} "
            f"(people {result.people:.1%}), flips {result.flips:.1%}, length {100 * result.length_gap:+.1f} points"
        )
        for failure in result.failures:
            self.stdout.write(f"  {failure}")

    def do_route(self, project: Project, options: dict[str, Any]) -> None:
        routing, run = route_judgments(find_annotator(project, options["name"]))
        self.stdout.write(routing.describe(run))
        if run is not None:
            self.follow(run, options)

    def do_report(self, project: Project, options: dict[str, Any]) -> None:
        names = [options["name"]] if options["name"] else []
        config = default_config(project, "reward").with_settings(options["set"])
        report = start_report(project, names, config=config)
        if options["wait"]:
            for run in list_runs(report).values():
                wait_for_run(run, self.stdout.write)
            report = list_reports(project, n=1)[0]
        self.stdout.write("\n".join(describe_report(report)))

    def do_retire(self, project: Project, options: dict[str, Any]) -> None:
        annotator = retire_annotator(find_annotator(project, options["name"]))
        self.stdout.write(f"{annotator} is asked no more; what it said stays")

    def do_status(self, project: Project, options: dict[str, Any]) -> None:
        newest = find_newest(project)
        self.stdout.write(f"{newest}: {len(newest.principles)} principles" if newest else "no constitution yet")
        for standing in list_standings(project):
            self.stdout.write(standing.describe())
            if standing.warning:
                self.stdout.write(f"  {standing.warning}")
        for report in list_reports(project, n=1):
            self.stdout.write("\n".join(describe_report(report)))

    def follow(self, run: Run, options: dict[str, Any]) -> None:
        self.stdout.write(f"{run} is queued; see {run.get_absolute_url()}")
        if options["wait"]:
            wait_for_run(run, self.stdout.write)
            for name, value in sorted(run.result.items()):
                self.stdout.write(f"  {name} {value:.4g}" if isinstance(value, float) else f"  {name} {value}")


def find_annotator(project: Project, name: str) -> Annotator:
    """Return the project's annotator of this name, or say which there are."""
    annotators = {annotator.name: annotator for annotator in Annotator.objects.filter(project=project)}
    if name not in annotators:
        known = f"it has {', '.join(sorted(annotators))}" if annotators else "it has none yet"
        raise CommandError(f"{project} has no annotator {name!r}: {known}")
    return annotators[name]


def read_settings(assignments: list[str]) -> dict[str, Any]:
    """Return how an annotator is asked from key=value texts."""
    config = FeedbackConfig().with_settings(assignments)
    names = [assignment.partition("=")[0].strip() for assignment in assignments]
    return {name: getattr(config, name) for name in names}
