"""How good the demo's policies are under the hidden rule, round by round: the figures behind docs/loop.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from labeling.models import Project
from rlhf.domain.counting import list_votes
from rlhf.domain.simulation import compare_policies, queue_contest
from rlhf.domain.waiting import wait_for_run
from rlhf.models import Checkpoint, Round, Run
from rlhf.world.win_rate import WinRate

KL_KEYS = ("kl", "eval_kl", "objective/kl")


@dataclass(frozen=True)
class RoundFigures:
    """A round's candidate under the hidden rule against the first policy.

    kl: nats a completion, where it was measured. spent: seconds by what was done in them, such as "evaluation".
    """

    round: Round
    n_judged: int
    win: WinRate
    kl: float | None
    seconds: float
    spent: Mapping[str, float] = field(default_factory=dict)

    @property
    def decision(self) -> str:
        return self.round.get_decision_display() or "not decided yet"


def measure_rounds(
    project: Project, baseline: Checkpoint, *, n_prompts: int, seed: int, say: Callable[[str], None]
) -> list[RoundFigures]:
    """Ask every round's candidate and the baseline the same held-out prompts; the hidden rule decides.

    Raises: LearningError when a contest fails.
    """
    made = Round.objects.filter(project=project, base__isnull=False, candidate__isnull=False).order_by("number")
    rounds = list(made.select_related("candidate").prefetch_related("runs"))
    policies = [baseline, *(round.candidate for round in rounds if round.candidate is not None)]
    contests = [queue_contest(project, policy, n=n_prompts, seed=seed) for policy in policies]
    for contest in contests:
        wait_for_run(contest, say)
    upto = [0, *(round.upto for round in rounds)]
    return [
        RoundFigures(
            round=round,
            n_judged=count_judged(project, upto[number], round.upto),
            win=compare_policies(contests[number + 1], contests[0]),
            kl=find_kl(list(round.runs.all())),
            seconds=(round.finished_at - round.created_at).total_seconds() if round.finished_at else 0.0,
            spent=measure_spent(list(round.runs.all())),
        )
        for number, round in enumerate(rounds)
    ]


def count_judged(project: Project, after: int, upto: int) -> int:
    """Return how many votes lie between two judgments."""
    return list_votes().filter(comparison__project=project, pk__gt=after, pk__lte=upto).count()


def measure_spent(runs: list[Run]) -> dict[str, float]:
    """Return the seconds of a round's runs by their kind, in words."""
    spent: dict[str, float] = {}
    for run in runs:
        if run.started_at and run.finished_at:
            kind = run.get_kind_display()
            spent[kind] = spent.get(kind, 0.0) + (run.finished_at - run.started_at).total_seconds()
    return spent


def find_kl(runs: list[Run]) -> float | None:
    """Return the KL to the policy before it, of the evaluation if it says so, else of the training."""
    for kind in (Run.Kind.EVALUATE, Run.Kind.PPO):
        for run in runs:
            for key in KL_KEYS:
                if run.kind == kind and key in run.result:
                    return float(run.result[key])
    return None
