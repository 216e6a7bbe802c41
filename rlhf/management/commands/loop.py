"""Look at a project's loop, let it go by itself, or move it by hand."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.http import QueryDict

from labeling.models import Project, User
from rlhf.domain.adjusting import read_settings, record_settings
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import pause_loop, resume_loop, start_loop, start_round, step_loop, stop_loop
from rlhf.domain.promoting import list_promoted, roll_back
from rlhf.domain.rebuilding import rebuild_without, tell_rebuild
from rlhf.domain.standing import read_standing
from rlhf.domain.terms import get_loop
from rlhf.domain.tuning import join_lines, spell_rule, spell_settings
from rlhf.domain.waiting import wait_for_round
from rlhf.forms.projects import LOOP_FIELDS, LoopForm
from rlhf.models import Loop, Round

SIMPLE = [name for name in LOOP_FIELDS if name not in ("settings", "rule")]
RULE = "rule."
ACTIONS = ("start", "status", "step", "pause", "resume", "stop", "rollback", "rebuild")


class Command(BaseCommand):
    help = "Start, pause, resume or stop a project's loop, take one step of it, go back to an earlier policy, or look."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("--project", default="demo", help="Slug of the project.")
        parser.add_argument("--round", action="store_true", help="With step: go a whole round, not one stage.")
        parser.add_argument("--wait", action="store_true", help="With step: stay until the round, or its run, is over.")
        parser.add_argument("--why", default="", help="With pause, stop and rebuild: what people read there.")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="Settings of the next rounds, stored before anything else: threshold=800, slice=code; of their runs, such "
            "as ppo.kl_coef=0.1 (kind.name, or stage.name); of the freeze rule, such as rule.consensus=dawid_skene. "
            "Without a value these two have their default again.",
        )
        parser.add_argument("--to", default="", metavar="POLICY", help="With rollback: the name of a promoted policy.")
        parser.add_argument(
            "--without", default="", metavar="LABELER", help="With rebuild: whose judgments to leave out."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project = Project.objects.get(slug=options["project"])
        except Project.DoesNotExist as error:
            raise CommandError(f"there is no project {options['project']}") from error
        if options["set"]:
            save_settings(get_loop(project), options["set"])
        try:
            getattr(self, options["action"])(get_loop(project), options)
        except LearningError as error:
            raise CommandError(str(error)) from error

    def start(self, loop: Loop, options: dict[str, Any]) -> None:
        start_loop(loop)
        self.say_standing(loop)

    def pause(self, loop: Loop, options: dict[str, Any]) -> None:
        pause_loop(loop, because=options["why"])
        self.say_standing(loop)

    def resume(self, loop: Loop, options: dict[str, Any]) -> None:
        resume_loop(loop)
        self.say_standing(loop)

    def stop(self, loop: Loop, options: dict[str, Any]) -> None:
        stop_loop(loop, because=options["why"])
        self.say_standing(loop)

    def step(self, loop: Loop, options: dict[str, Any]) -> None:
        round = start_round(loop.project) if options["round"] else step_loop(loop)
        self.stdout.write(f"{round} has begun" if not round.runs.exists() else f"{round} goes on")
        if options["wait"] and options["round"]:
            wait_for_round(round, self.stdout.write)
            self.stdout.write(f"{round} succeeded: {round.n_queued} pairs are waiting")
        else:
            self.say_standing(loop)

    def rollback(self, loop: Loop, options: dict[str, Any]) -> None:
        known = {str(policy): policy for policy in list_promoted(loop.project)}
        if options["to"] not in known:
            raise CommandError(f"name the policy to go back to with --to, one of {', '.join(known) or 'none yet'}")
        n_retired = roll_back(loop, known[options["to"]])
        self.stdout.write(f"the policy is {loop.policy} again; {n_retired} waiting pairs of later rounds were retired")

    def rebuild(self, loop: Loop, options: dict[str, Any]) -> None:
        labeler = User.objects.filter(username=options["without"]).first()
        if labeler is None:
            raise CommandError(f"name the labeler with --without: there is no {options['without']!r}")
        round = rebuild_without(loop.project, labeler, user=None, reason=options["why"])
        self.stdout.write(f"{round} {tell_rebuild(round, labeler)}")

    def status(self, loop: Loop, options: dict[str, Any]) -> None:
        self.say_standing(loop)
        for round in Round.objects.filter(project=loop.project).select_related("candidate").order_by("number"):
            stages = ", ".join(f"{run.kind} {run.state}" for run in round.runs.order_by("id"))
            self.stdout.write(
                f"round {round.number}: {round.state}; {stages or 'not begun'}; {round.cause}".rstrip("; ")
            )
            if round.decision:
                reasons = " ".join(round.reasons)
                self.stdout.write(f"  {round.candidate} {round.get_decision_display()}: {reasons}")

    def say_standing(self, loop: Loop) -> None:
        """Say the state, what it waits for, and how fresh the queue is."""
        standing = read_standing(loop.project)
        state, wait = standing.loop.state, standing.wait.removeprefix(f"{standing.loop.state}: ")
        self.stdout.write(f"the loop of {loop.project} is {state}: {wait}")
        self.stdout.write(f"{standing.n_new} of {standing.loop.threshold} new judgments for the next round")
        if standing.pending is not None:
            self.stdout.write(f"candidate {standing.pending.candidate}: {standing.verdict}")
        if standing.fresh_share is not None:
            self.stdout.write(
                f"{standing.n_waiting} pairs wait, {standing.fresh_share:.0%} of them by the current policy"
            )


def save_settings(loop: Loop, assignments: list[str]) -> None:
    """Store key=value texts as the page stores its form; a slice goes by its name. Raises: CommandError."""
    wanted, before = QueryDict(mutable=True), read_settings(loop)
    settings, rule = spell_settings(loop.settings), spell_rule(loop.rule)
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if separator and "." in name:
            lines, key = (rule, name.removeprefix(RULE)) if name.startswith(RULE) else (settings, name)
            lines[key] = value
            continue
        if not separator or name not in SIMPLE:
            raise CommandError(
                f"--set takes KEY=VALUE of {', '.join(SIMPLE)}, KIND.NAME=VALUE and {RULE}NAME=VALUE, got {assignment!r}"
            )
        if name == "slice" and value:
            slices = {str(one): one.pk for one in loop.project.slices.all()}
            if value not in slices:
                raise CommandError(f"{loop.project} has no slice {value!r}: it has {', '.join(slices) or 'none yet'}")
            value = str(slices[value])
        wanted[name] = value
    wanted.update({"settings": join_lines(settings), "rule": join_lines(rule), "consensus": ""})
    form = LoopForm(wanted, instance=loop)
    if not form.is_valid():
        raise CommandError(" ".join(f"{name}: {words[0]}" for name, words in form.errors.items()))
    with transaction.atomic():
        record_settings(form.save(), before, user=None)
