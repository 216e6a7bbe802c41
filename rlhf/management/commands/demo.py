"""Seed the demo project; with --simulate, judge its pairs with simulated labelers while its loop goes round."""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.models import Project
from rlhf.domain.demo import seed_demo, set_rounds
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import advance_loop, resume_loop, start_loop
from rlhf.domain.measuring import RoundFigures, measure_rounds
from rlhf.domain.simulation import count_wanted, simulate_judgments
from rlhf.domain.supervision import Supervisor, worker_services
from rlhf.domain.terms import get_loop
from rlhf.domain.waiting import wait_for_round
from rlhf.management.commands.up import prepare
from rlhf.models import Checkpoint, Loop, Round, Run
from rlhf.views.loop_report import COLUMNS, spell_row, write_report

N_CONTEST_PROMPTS = 500
CONTEST_SEED = 7


class Command(BaseCommand):
    help = (
        "Make the demo project; --simulate N lets simulated labelers judge N pairs a round while its loop goes round."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--simulate", type=int, default=0, metavar="N", help="Judgments by simulated labelers a round."
        )
        parser.add_argument("--rounds", type=int, default=0, metavar="R", help="Rounds to go (default: judge only).")
        parser.add_argument("--seed", type=int, default=1, help="Seed of the simulated labelers.")
        parser.add_argument(
            "--method", choices=Loop.Method.values, help="What a round learns with (default: the loop's)."
        )
        parser.add_argument("--gate", choices=Loop.Gate.values, help="What promotes a policy (default: the loop's).")
        parser.add_argument(
            "--report", type=Path, metavar="FILE.md", help="Write table and figure of the rounds there."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["simulate"] < 0 or options["rounds"] < 0:
            raise CommandError("--simulate and --rounds must not be negative")
        if options["report"] and not (options["simulate"] and options["rounds"]):
            raise CommandError("--report is about rounds: give --simulate and --rounds too")
        self.started_s = time.monotonic()
        prepare()
        with services_of_this_machine():
            try:
                self.run(options)
            except LearningError as error:
                raise CommandError(str(error)) from error

    def run(self, options: dict[str, Any]) -> None:
        project = seed_demo()
        self.wait_for_first_policy(project)
        if not options["simulate"]:
            self.stdout.write(f"the demo project is ready: judge at {project.get_absolute_url()}")
            return
        if not options["rounds"]:
            self.judge(project, options["simulate"], seed=options["seed"])
            return
        self.go_round(project, options)
        seconds = time.monotonic() - self.started_s
        self.say(f"{options['rounds']} rounds took {seconds:.1f} s, process starts included")
        baseline = Checkpoint.objects.filter(project=project, run__kind=Run.Kind.SFT, run__round__base=None).latest(
            "pk"
        )
        figures = measure_rounds(
            project, baseline, n_prompts=N_CONTEST_PROMPTS, seed=CONTEST_SEED, say=lambda line: None
        )
        self.report(figures, baseline)
        if options["report"]:
            facts = {"command": self.spell(options), "n_rounds": options["rounds"], "seconds": seconds}
            write_report(options["report"], figures, baseline, **facts)
            self.say(f"table and figure are in {options['report']}")

    def wait_for_first_policy(self, project: Project) -> None:
        """Wait for the round that pre-trains, tunes and samples for the first time."""
        first = Round.objects.filter(project=project).exclude(state=Round.State.FAILED).earliest("number")
        if first.state == Round.State.RUNNING:
            self.say("the first policy is being made: pre-training, fine-tuning, sampling")
            wait_for_round(first, self.say)
            self.started_s = time.monotonic()

    def go_round(self, project: Project, options: dict[str, Any]) -> None:
        """Let the loop go its rounds by itself while the simulated labelers judge what it asks for."""
        loop = set_rounds(
            get_loop(project), options["rounds"], n=options["simulate"], method=options["method"], gate=options["gate"]
        )
        start_loop(loop) if loop.state == Loop.State.STOPPED else resume_loop(loop)
        last = Round.objects.filter(project=project).latest("number").number
        while loop.state == Loop.State.RUNNING:
            if n_wanted := count_wanted(loop):
                self.judge(project, n_wanted, seed=options["seed"])
            # Whoever finds something to do may ring; the scheduler would within half a minute.
            advance_loop(loop.pk)
            round = Round.objects.filter(project=project, number__gt=last).order_by("number").first()
            if round is not None:
                self.follow(round)
                last = round.number
            loop.refresh_from_db()
        if loop.state != Loop.State.STOPPED:
            raise LearningError(f"the loop is {loop.state}: {loop.cause}")
        self.say(f"the loop {loop.cause}")

    def follow(self, round: Round) -> None:
        """See a round to its end."""
        started_s = time.monotonic()
        round = wait_for_round(round, self.say)
        outcome = round.get_decision_display() if round.decision else "the gate waits for votes"
        reward = next((run.result for run in round.runs.all() if run.kind == Run.Kind.REWARD), {})
        accuracy = f"held-out reward accuracy {reward['eval_accuracy']:.2f}, " if "eval_accuracy" in reward else ""
        self.say(
            f"round {round.number} took {time.monotonic() - started_s:.1f} s: {accuracy}{round.n_queued} new pairs queued, "
            f"{outcome}"
        )

    def judge(self, project: Project, n: int, *, seed: int) -> None:
        started_s = time.monotonic()
        n_judged = simulate_judgments(project, n, seed=seed)
        self.say(f"simulated labelers judged {n_judged} pairs in {time.monotonic() - started_s:.1f} s")

    def report(self, figures: list[RoundFigures], baseline: Checkpoint) -> None:
        self.say(f"against {baseline} on {N_CONTEST_PROMPTS} fresh prompts, under the hidden rule:")
        for line in align([COLUMNS, *(spell_row(row) for row in figures)]):
            self.say(line)

    def spell(self, options: dict[str, Any]) -> str:
        """Return the command as it can be typed again."""
        named = {"simulate": 0, "rounds": 0, "seed": 1, "method": None, "gate": None}
        said = [f"--{name} {options[name]}" for name, default in named.items() if options[name] not in (default, None)]
        return " ".join(["manage.py demo", *said, f"--report {options['report']}"])

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def align(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows of a table as lines whose columns stand under each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def services_of_this_machine() -> AbstractContextManager[object]:
    """Use the workers of a running `manage.py up`, or start some for as long as the command lasts."""
    return nullcontext() if is_up() else own_workers()


def is_up() -> bool:
    """Say whether a supervisor holds the lock of this installation."""
    with (Path(settings.PREFLOOP_HOME) / f"up.{socket.gethostname()}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def own_workers() -> Iterator[None]:
    """Run broker and workers while the block lasts."""
    supervisor = Supervisor(worker_services())
    supervisor.start()
    try:
        yield
    finally:
        supervisor.stop()
