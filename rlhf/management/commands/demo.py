"""Seed the demo project; with --simulate, judge its pairs with simulated labelers and go round."""

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
from rlhf.domain.demo import seed_demo
from rlhf.domain.errors import LearningError
from rlhf.domain.loop import start_round
from rlhf.domain.simulation import compare_policies, queue_contest, simulate_judgments
from rlhf.domain.supervision import Supervisor, worker_services
from rlhf.domain.waiting import wait_for_round, wait_for_run
from rlhf.management.commands.up import prepare
from rlhf.models import Checkpoint, Round, Run
from rlhf.world.win_rate import WinRate


class Command(BaseCommand):
    help = "Make the demo project; --simulate N lets simulated labelers judge N pairs a round and trains on them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--simulate", type=int, default=0, metavar="N", help="Judgments by simulated labelers a round."
        )
        parser.add_argument("--rounds", type=int, default=0, metavar="R", help="Rounds to go (default: judge only).")
        parser.add_argument("--seed", type=int, default=1, help="Seed of the simulated labelers.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["simulate"] < 0 or options["rounds"] < 0:
            raise CommandError("--simulate and --rounds must not be negative")
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
        baseline = Checkpoint.objects.filter(project=project, run__kind=Run.Kind.SFT).latest("pk")
        if not options["rounds"]:
            self.judge(project, options["simulate"], seed=options["seed"])
            return
        for _ in range(options["rounds"]):
            self.judge(project, options["simulate"], seed=options["seed"])
            self.go_round(project)
        policy = Checkpoint.objects.policies_of(project).latest("pk")
        self.report(self.measure(project, policy, baseline), policy, baseline)
        self.say(f"{options['rounds']} rounds took {time.monotonic() - self.started_s:.1f} s, process starts included")

    def wait_for_first_policy(self, project: Project) -> None:
        """Wait for the round that pre-trains, tunes and samples for the first time."""
        first = Round.objects.filter(project=project).exclude(state=Round.State.FAILED).earliest("number")
        if first.state == Round.State.RUNNING:
            self.say("the first policy is being made: pre-training, fine-tuning, sampling")
            wait_for_round(first, self.say)
            self.started_s = time.monotonic()

    def judge(self, project: Project, n: int, *, seed: int) -> None:
        started_s = time.monotonic()
        n_judged = simulate_judgments(project, n, seed=seed)
        self.say(f"simulated labelers judged {n_judged} pairs in {time.monotonic() - started_s:.1f} s")
        if n_judged < n:
            self.say(f"no more pairs were waiting: {n - n_judged} of {n} judgments are missing")

    def go_round(self, project: Project) -> None:
        started_s = time.monotonic()
        round = wait_for_round(start_round(project), self.say)
        reward = round.runs.get(kind=Run.Kind.REWARD).result
        self.say(
            f"round {round.number} took {time.monotonic() - started_s:.1f} s: held-out reward accuracy "
            f"{reward.get('eval_accuracy', float('nan')):.2f}, {round.n_queued} new pairs queued"
        )

    def measure(self, project: Project, policy: Checkpoint, baseline: Checkpoint) -> WinRate:
        """Ask both policies the held-out prompts and let the hidden rule decide."""
        contests = [queue_contest(project, checkpoint, n=500, seed=7) for checkpoint in (policy, baseline)]
        for contest in contests:
            wait_for_run(contest, lambda line: None)
        return compare_policies(*contests)

    def report(self, win: WinRate, policy: Checkpoint, baseline: Checkpoint) -> None:
        self.say(
            f"{policy} beats {baseline} on {win.n} fresh prompts under the hidden rule: "
            f"{win.rate:.1%} (95% interval {win.low:.1%} to {win.high:.1%})"
        )
        for part, value in win.parts.items():
            self.say(f"  {part:12} {value:+.3f}, was {win.baseline_parts[part]:+.3f}")

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


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
