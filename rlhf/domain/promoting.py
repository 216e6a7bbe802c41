"""What becomes of a round's candidate: promoted to be the loop's policy, kept as a candidate, or rolled back later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from labeling.domain.audit import record_event
from labeling.models import Project, User
from rlhf.domain import gate
from rlhf.domain.errors import NotReady
from rlhf.domain.freshness import count_duels, list_drawn, retire_pairs
from rlhf.domain.runs import cancel_run
from rlhf.domain.supply import raise_supply
from rlhf.domain.terms import get_loop, read_terms
from rlhf.models import Checkpoint, Loop, Round, Run

NO_MORE_VOTES = "No more votes on it are to come."
NOBODY_ASKED = "Nobody was asked about it: no vote could have mended that."


def find_pending(project: Project) -> Round | None:
    """Return the last round whose candidate nobody has decided about yet."""
    undecided = Round.objects.filter(project=project, decision="", candidate__isnull=False)
    pending = undecided.exclude(state=Round.State.FAILED).order_by("-number")
    return pending.select_related("project", "base", "candidate").first()


def settle_round(round: Round, *, must_decide: str = "") -> Round:
    """Ask the gate about the candidate and do what it says; while it cannot say, keep its reasons with the round.

    must_decide: why a candidate the gate can say nothing of stays one all the same.
    """
    if round.candidate is None or round.decision:
        return round
    if round.base is None:
        return decide_round(round, Round.Decision.PROMOTED, [f"{round.candidate} is the first policy."])
    verdict = gate.decide(round.candidate, terms=dataclasses.asdict(read_terms(round)), baseline=round.base)
    if verdict.passes is not None:
        decision = Round.Decision.PROMOTED if verdict.passes else Round.Decision.KEPT
        return decide_round(round, decision, verdict.reasons)
    if must_decide:
        return decide_round(round, Round.Decision.KEPT, [*verdict.reasons, must_decide])
    Round.objects.filter(pk=round.pk, decision="").update(reasons=verdict.reasons)
    round.reasons = verdict.reasons
    return round


def turn_down(round: Round) -> Round:
    """Keep a candidate out before people are asked, when its evaluation or an alarm speaks against it whatever they say."""
    if round.candidate is None or round.base is None or round.decision:
        return round
    verdict = gate.decide(round.candidate, terms=dataclasses.asdict(read_terms(round)), baseline=round.base)
    if verdict.passes is not False:
        return round
    return decide_round(round, Round.Decision.KEPT, [*verdict.reasons, NOBODY_ASKED])


def is_votes_dry(round: Round) -> bool:
    """Say whether no more votes on the candidate can come: nothing that shows it beside its predecessor waits."""
    return count_duels(round) == 0


@transaction.atomic
def decide_round(round: Round, decision: str, reasons: Sequence[str], *, user: User | None = None) -> Round:
    """Write a decision once; a promoted candidate becomes the loop's policy. Whoever comes second changes nothing.

    Nothing is decided about the candidate of a round that failed or was rolled back, however long the gate took to say.
    """
    undecided = Round.objects.filter(pk=round.pk, decision="", candidate__isnull=False)
    n_decided = undecided.exclude(state=Round.State.FAILED).update(
        decision=decision, decided_at=timezone.now(), reasons=list(reasons)
    )
    if n_decided:
        if decision == Round.Decision.PROMOTED:
            Loop.objects.filter(pk=get_loop(round.project).pk).update(policy=round.candidate)
        subject, after = str(round), {"candidate": str(round.candidate), "reasons": list(reasons)}
        record_event(f"round.{decision}", subject, actor=user, project=round.project, after=after)
    round.refresh_from_db(fields=["decision", "decided_at", "reasons"])
    return round


def list_promoted(project: Project) -> dict[Checkpoint, int]:
    """Return the policies one can go back to, newest first, each with the number of the round that made it.

    Those that were promoted and not rolled back, and the one the first round found there.
    """
    return list_promoted_of([project])[project.pk]


def list_promoted_of(projects: Iterable[Project]) -> dict[int, dict[Checkpoint, int]]:
    """Return list_promoted of each project by its id, in one query for all."""
    rounds: dict[int, list[Round]] = {project.pk: [] for project in projects}
    found = Round.objects.filter(project__in=list(rounds)).select_related("candidate", "base").order_by("-number")
    for round in found:
        rounds[round.project_id].append(round)
    return {pk: pick_promoted(of_project) for pk, of_project in rounds.items()}


def pick_promoted(rounds: Sequence[Round]) -> dict[Checkpoint, int]:
    """Return what list_promoted does from a project's rounds, newest first."""
    policies: dict[Checkpoint, int] = {}
    for round in rounds:
        if round.decision == Round.Decision.PROMOTED and round.candidate is not None:
            policies.setdefault(round.candidate, round.number)
    if rounds and rounds[-1].base is not None:
        policies.setdefault(rounds[-1].base, rounds[-1].number - 1)
    return policies


@transaction.atomic
def roll_back(loop: Loop, policy: Checkpoint, *, user: User | None = None) -> int:
    """Go back to an earlier promoted policy; return how many waiting pairs were retired. Nothing is deleted.

    The round under way is ended, the rounds after the one that made the policy are marked, their waiting pairs retired.
    Raises: NotReady when the policy was not promoted in this project, or is the current one.
    """
    project = loop.project
    known = list_promoted(project)
    number = known.get(policy)
    if number is None:
        names = ", ".join(str(one) for one in known) or "none yet"
        raise NotReady(f"{policy} was not promoted in {project}: go back to one of {names}")
    if loop.policy_id == policy.pk and not Round.objects.filter(project=project, number__gt=number).exists():
        raise NotReady(f"{policy} is the policy of {project} already")
    because = f"rolled back to {policy}" + (f" by {user}" if user else "")
    end_running(project, because)
    waiting = list_drawn(project, Q(run__round__number__gt=number))
    n_retired = retire_pairs(project, waiting, because=because, user=user)
    withdraw_rounds(Round.objects.filter(project=project, number__gt=number, candidate__isnull=False), because)
    Loop.objects.filter(pk=loop.pk).update(policy=policy)
    record_event("loop.rollback", str(policy), actor=user, project=project, after={"retired": n_retired})
    loop.refresh_from_db()
    raise_supply(project)
    return n_retired


def withdraw_rounds(rounds: QuerySet[Round], because: str) -> None:
    """Mark rounds with a candidate as rolled back, with the reason: it is, and will be, nobody's policy any more."""
    now = timezone.now()
    for round in rounds:
        round.decision, round.decided_at = Round.Decision.ROLLED_BACK, now
        round.reasons = [*round.reasons, f"{because[0].upper()}{because[1:]}."]
        round.save(update_fields=["decision", "decided_at", "reasons"])


def end_running(project: Project, cause: str) -> None:
    """Fail the round under way, if there is one, and cancel what it has running."""
    for round in Round.objects.filter(project=project, state=Round.State.RUNNING):
        # The round first: whoever holds it to start a run is waited for, and the run is found below.
        Round.objects.filter(pk=round.pk, state=Round.State.RUNNING).update(
            state=Round.State.FAILED, cause=cause, finished_at=timezone.now()
        )
        for run in round.runs.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING]):
            cancel_run(run)
