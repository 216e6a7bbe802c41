"""Where each project's circle stands, read for all projects at once: pages ask for it every two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Window
from django.db.models.functions import RowNumber

from labeling.models import Project, Slot
from rlhf.domain.counting import count_new
from rlhf.domain.freshness import count_fresh
from rlhf.domain.quota import Quota, read_quotas
from rlhf.domain.sampling import BEST, RANKED
from rlhf.domain.stages import PREVIOUS, find_runs, split_stage
from rlhf.domain.supply import find_supplied
from rlhf.domain.terms import read_terms
from rlhf.domain.waiting import describe_progress
from rlhf.models import Checkpoint, Loop, Round, Run

PARTS = {BEST: "to learn from", RANKED: "to rank", PREVIOUS: "by the policy before"}
STAGES = {f"dpo:{RANKED}": "DPO on what was ranked too"}


@dataclass(frozen=True)
class Stage:
    """One step of a round, with its run once it has one. name: as Round.stages has it."""

    name: str
    run: Run | None

    @property
    def label(self) -> str:
        if self.name in STAGES:
            return STAGES[self.name]
        kind, part = split_stage(self.name)
        return f"{Run.Kind(kind).label} {PARTS.get(part, part)}" if part else Run.Kind(kind).label

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
    def left_out(self) -> str:
        """What of its samples did not become pairs, and how many pairs had grown stale."""
        named = {"empty": "empty", "same": "said twice", "identity": "named their writer", "repeated": "asked before"}
        named["stale"] = "older pairs put back"
        counts = self.round.counts
        return ", ".join(f"{counts[name]} {words}" for name, words in named.items() if counts.get(name))

    @property
    def stage_number(self) -> int:
        return self.stages.index(self.stage) + 1 if self.stage else len(self.stages)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A project's circle at a glance.

    turns: its last rounds, newest first. n_new: judgments that count toward the quota. n_waiting: comparisons that wait to
    be judged, n_fresh of which show a completion of the policy under test or in use. is_supplied: whether any of them
    counts toward the quota.
    """

    project: Project
    loop: Loop
    turns: list[Turn]
    quota: Quota
    n_new: int
    n_waiting: int
    n_fresh: int
    is_supplied: bool
    policy: Checkpoint | None

    @property
    def turn(self) -> Turn | None:
        return self.turns[0] if self.turns else None

    @property
    def is_running(self) -> bool:
        """Whether a round is under way, whatever the state of the loop."""
        return self.turn is not None and self.turn.round.state == Round.State.RUNNING

    @property
    def is_moving(self) -> bool:
        """Whether something may change without anybody's doing: pages ask again."""
        return self.is_running or self.loop.state == Loop.State.RUNNING

    @property
    def has_failed(self) -> bool:
        return self.turn is not None and self.turn.round.state == Round.State.FAILED

    @property
    def has_policy(self) -> bool:
        return self.policy is not None

    @property
    def is_due(self) -> bool:
        """A round may start: enough judgments, a policy to start from, and none running."""
        return not self.is_running and self.has_policy and self.n_new >= self.loop.threshold

    @property
    def fresh_share(self) -> float | None:
        """Share of the waiting comparisons that show the current policy; None when nothing waits."""
        return self.n_fresh / self.n_waiting if self.n_waiting else None

    @property
    def pending(self) -> Round | None:
        """The round whose candidate the gate has not decided about."""
        return next((turn.round for turn in self.turns if turn.round.candidate_id and not turn.round.decision), None)

    @property
    def verdict(self) -> str:
        """What the gate has said of the candidate so far, or when it will; how the votes stand till then is not shown."""
        if self.pending is None:
            return ""
        if self.pending.reasons:
            return " ".join(self.pending.reasons)
        n_votes = read_terms(self.pending).gate_votes
        return (
            f"The gate decides when the next quota is full, by the votes on its completions against those of "
            f"{self.pending.base}, {n_votes} at least."
        )

    @property
    def wait(self) -> str:
        """What it waits for and why, in words with figures."""
        if self.loop.state == Loop.State.PAUSED:
            return self.loop.cause or "paused"
        if self.is_running:
            return self.describe_round()
        if self.loop.state == Loop.State.STOPPED:
            return self.loop.cause or "stopped: it begins no round by itself"
        if self.loop.cause:
            return self.loop.cause
        return self.describe_votes()

    def describe_round(self) -> str:
        """Say what the round under way waits for."""
        assert self.turn is not None
        where, stage = f"round {self.turn.round.number}", self.turn.stage
        if stage is None:
            return f"{where} puts its pairs into the queue"
        if stage.run is None:
            return f"{where} is about to start: {stage.label}"
        if stage.run.state == Run.State.QUEUED:
            return f"{where} waits for a learning worker to take up {stage.label} (run {stage.run.pk})"
        return f"{where} waits for {stage.label}: {describe_progress(stage.run)}"

    def describe_votes(self) -> str:
        """Say how many judgments a round still needs, and of what."""
        if self.policy is None:
            return "waits for a policy: train one, or register a model folder"
        n_missing = self.loop.threshold - self.n_new
        if n_missing <= 0:
            return f"has the {self.loop.threshold} judgments it needs and is about to begin the next round"
        words = f"waits for {n_missing} more judgments of {self.loop.threshold} on {self.quota.pairs}"
        return words if self.is_supplied else f"{words}; none waits to be judged, so new pairs are about to be drawn"


def read_standings(projects: Iterable[Project], *, n_rounds: int = 1) -> list[Standing]:
    """Return the standing of each project with its last rounds, in a number of queries that does not grow with them."""
    projects = list(projects)
    loops = {
        loop.project_id: loop for loop in Loop.objects.filter(project__in=projects).select_related("policy", "slice")
    }
    turns = read_turns(projects, n_rounds)
    loops = {project.pk: loops.get(project.pk) or Loop(project=project) for project in projects}
    quotas = read_quotas(loops.values())
    n_new, supplied = count_new(quotas.values()), find_supplied(quotas.values())
    n_waiting = count_waiting(projects)
    policies = read_policies(projects) | {pk: loop.policy for pk, loop in loops.items() if loop.policy}
    tested = [turn.round.candidate_id for found in turns.values() for turn in found if not turn.round.decision]
    n_fresh = count_fresh([*(policy.pk for policy in policies.values()), *(pk for pk in tested if pk)])
    return [
        Standing(
            project=project,
            loop=loops[project.pk],
            turns=turns.get(project.pk, []),
            quota=quotas[project.pk],
            n_new=n_new.get(project.pk, 0),
            n_waiting=n_waiting.get(project.pk, 0),
            n_fresh=n_fresh.get(project.pk, 0),
            is_supplied=project.pk in supplied,
            policy=policies.get(project.pk),
        )
        for project in projects
    ]


def read_standing(project: Project, *, n_rounds: int = 1) -> Standing:
    """Return the standing of one project."""
    (standing,) = read_standings([project], n_rounds=n_rounds)
    return standing


def read_policies(projects: list[Project]) -> dict[int, Checkpoint]:
    """Return each project's newest policy; one worth starting from where there is one. checkpoints.newest_policy for many."""
    found: dict[int, Checkpoint] = {}
    policies = Checkpoint.objects.filter(project__in=projects, kind=Checkpoint.Kind.POLICY)
    place = Window(RowNumber(), partition_by="project", order_by="-id")
    for rows in (policies, policies.worth_starting_from()):
        for policy in rows.annotate(place=place).filter(place=1):
            found[policy.project_id] = policy
    return found


def read_turns(projects: list[Project], n: int) -> dict[int, list[Turn]]:
    """Return each project's last n rounds, newest first, with their runs."""
    place = Window(RowNumber(), partition_by="project", order_by="-number")
    newest = Round.objects.filter(project__in=projects).annotate(place=place).filter(place__lte=n)
    turns: dict[int, list[Turn]] = {}
    for round in newest.order_by("project", "-number").select_related("candidate", "base").prefetch_related("runs"):
        turns.setdefault(round.project_id, []).append(Turn(round, list_stages(round)))
    return turns


def list_stages(round: Round) -> list[Stage]:
    """Return the round's stages in order, with their runs. Reads what was prefetched."""
    runs = find_runs(round)
    return [Stage(name, runs.get(name)) for name in round.stages]


def count_waiting(projects: list[Project]) -> dict[int, int]:
    """Return how many comparisons of each project have a free slot."""
    rows = Slot.objects.free().filter(project__in=projects).order_by().values("project")
    return {row["project"]: row["n"] for row in rows.annotate(n=Count("comparison", distinct=True))}
