"""Where each project's circle stands, read for all projects at once: pages ask for it every two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

from django.db.models import Count, F, Max, Q, Window
from django.db.models.functions import RowNumber

from labeling.models import Project, Slot
from rlhf.domain.loop import list_votes
from rlhf.models import Checkpoint, Loop, Round, Run


@dataclass(frozen=True)
class Stage:
    """One step of a round, with its run once it has one."""

    kind: str
    run: Run | None

    @property
    def label(self) -> str:
        return Run.Kind(self.kind).label

    @property
    def state(self) -> str:
        return self.run.state if self.run else "waiting"


@dataclass(frozen=True)
class Turn:
    """One round and its stages, in order."""

    round: Round
    stages: list[Stage]

    @property
    def stage(self) -> Stage | None:
        """The stage under way: the first that has not succeeded."""
        return next((stage for stage in self.stages if stage.state != Run.State.SUCCEEDED), None)

    @property
    def stage_number(self) -> int:
        return self.stages.index(self.stage) + 1 if self.stage else len(self.stages)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A project's circle at a glance.

    turns: its last rounds, newest first. n_new: judgments since the last round began, counted while none is running.
    """

    project: Project
    loop: Loop
    turns: list[Turn]
    n_new: int
    n_waiting: int
    has_policy: bool

    @property
    def turn(self) -> Turn | None:
        return self.turns[0] if self.turns else None

    @property
    def is_running(self) -> bool:
        return self.turn is not None and self.turn.round.state == Round.State.RUNNING

    @property
    def has_failed(self) -> bool:
        return self.turn is not None and self.turn.round.state == Round.State.FAILED

    @property
    def is_due(self) -> bool:
        """A round may start: enough judgments, a policy to start from, and none running."""
        return not self.is_running and self.has_policy and self.n_new >= self.loop.threshold


def read_standings(projects: Iterable[Project], *, n_rounds: int = 1) -> list[Standing]:
    """Return the standing of each project with its last rounds, in a number of queries that does not grow with them."""
    projects = list(projects)
    loops = {loop.project_id: loop for loop in Loop.objects.filter(project__in=projects)}
    turns = read_turns(projects, n_rounds)
    running = {pk for pk, found in turns.items() if found[0].round.state == Round.State.RUNNING}
    n_new = count_new([project.pk for project in projects if project.pk not in running])
    n_waiting = count_waiting(projects)
    policies = Checkpoint.objects.filter(project__in=projects, kind=Checkpoint.Kind.POLICY).order_by()
    with_policy = set(policies.values_list("project_id", flat=True).distinct())
    return [
        Standing(
            project=project,
            loop=loops.get(project.pk) or Loop(project=project),
            turns=turns.get(project.pk, []),
            n_new=n_new.get(project.pk, 0),
            n_waiting=n_waiting.get(project.pk, 0),
            has_policy=project.pk in with_policy,
        )
        for project in projects
    ]


def read_turns(projects: list[Project], n: int) -> dict[int, list[Turn]]:
    """Return each project's last n rounds, newest first, with their runs."""
    place = Window(RowNumber(), partition_by="project", order_by="-number")
    newest = Round.objects.filter(project__in=projects).annotate(place=place).filter(place__lte=n)
    turns: dict[int, list[Turn]] = {}
    for round in newest.order_by("project", "-number").prefetch_related("runs"):
        turns.setdefault(round.project_id, []).append(Turn(round, list_stages(round)))
    return turns


def list_stages(round: Round) -> list[Stage]:
    """Return the round's stages in order; of several runs of a stage the newest counts. Reads what was prefetched."""
    runs = {run.kind: run for run in sorted(round.runs.all(), key=lambda run: run.pk)}
    return [Stage(kind, runs.get(kind)) for kind in round.stages]


def count_new(project_ids: list[int]) -> dict[int, int]:
    """Return the votes since each project's last round began; loop.count_new_judgments for many projects."""
    if not project_ids:
        return {}
    rounds = Round.objects.filter(project__in=project_ids).exclude(state=Round.State.FAILED)
    used = {row["project"]: row["upto"] for row in rounds.order_by().values("project").annotate(upto=Max("upto"))}
    is_new = reduce(or_, (Q(comparison__project=pk, pk__gt=used.get(pk, 0)) for pk in project_ids))
    rows = list_votes().filter(is_new).order_by().values(project_id=F("comparison__project"))
    return {row["project_id"]: row["n"] for row in rows.annotate(n=Count("id"))}


def count_waiting(projects: list[Project]) -> dict[int, int]:
    """Return how many comparisons of each project have a free slot."""
    rows = Slot.objects.free().filter(project__in=projects).order_by().values("project")
    return {row["project"]: row["n"] for row in rows.annotate(n=Count("comparison", distinct=True))}
