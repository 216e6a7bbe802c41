"""A round: freeze, train, evaluate, gate, promote, sample, queue - each stage a run, each step safe to take twice.

The round's row says only running, succeeded or failed and what it decided; where it stands is read from its runs, so a
crash anywhere resumes by looking again.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from labeling.domain.doorbell import ring
from labeling.domain.errors import LabelingError
from labeling.models import Judgment, Project
from rlhf.contract.errors import ContractError
from rlhf.domain.ancestry import find_previous
from rlhf.domain.counting import last_judgment_used
from rlhf.domain.errors import LearningError, LostRound, NotReady
from rlhf.domain.freshness import apply_stale_rule
from rlhf.domain.holding import hold_round
from rlhf.domain.promoting import settle_round, turn_down
from rlhf.domain.queueing import queue_round
from rlhf.domain.stages import (
    POLICY_STAGES,
    PREVIOUS,
    SETTLED_BY_FIGURES,
    find_candidate,
    find_reward_model,
    find_runs,
    plan_queueing,
    plan_stages,
    split_stage,
    start_stage,
)
from rlhf.domain.supply import raise_supply
from rlhf.domain.terms import Terms, freeze_terms, get_loop, read_terms
from rlhf.models import Checkpoint, Loop, Round, Run


def open_round(project: Project, stages: list[str] | None = None, *, base: Checkpoint | None = None) -> Round:
    """Make the next round's row and ring for its first step. Raises: NotReady when another was opened first.

    What it learns from and starts from is settled here: judgments, settings and models that come later are the next
    round's. stages: those of the loop's method when they are not named.
    """
    loop = get_loop(project)
    terms = freeze_terms(loop)
    upto = Judgment.objects.of_project(project).aggregate(pk=Max("pk"))["pk"] or 0
    return insert_round(loop, terms, stages or plan_stages(terms), base=base, upto=upto)


def open_refill(loop: Loop, *, base: Checkpoint) -> Round:
    """Begin a round that only fills the queue again; it learns nothing, so the judgments keep counting. Raises: NotReady."""
    terms = freeze_terms(loop)
    return insert_round(loop, terms, plan_queueing(terms), base=base, upto=last_judgment_used(loop.project))


def insert_round(loop: Loop, terms: Terms, stages: list[str], *, base: Checkpoint | None, upto: int) -> Round:
    """Insert a round's row; one unique index lets a project have one that runs, another each number once."""
    last = Round.objects.filter(project=loop.project).aggregate(number=Max("number"))["number"]
    first = 0 if base is None else 1
    try:
        with transaction.atomic():
            round = Round.objects.create(
                project=loop.project,
                stages=stages,
                number=first if last is None else last + 1,
                base=base,
                upto=upto,
                terms=terms.to_json(),
            )
            loops = Loop.objects.filter(pk=loop.pk)
            loops.filter(state=Loop.State.RUNNING).update(cause="")
            if base is not None:
                loops.filter(policy=None).update(policy=base)
            transaction.on_commit(lambda: ring("rlhf.advance_round", round.pk))
    except IntegrityError as error:
        raise NotReady(f"a round of {loop.project} is running: wait for it, see /loop/") from error
    raise_supply(loop.project)
    return round


def advance_round(pk: int) -> Round:
    """Take the round as far as it goes without waiting, unless its loop is paused."""
    round = Round.objects.select_related("project", "base", "candidate").get(pk=pk)
    is_paused = Loop.objects.filter(project=round.project, state=Loop.State.PAUSED).exists()
    return round if is_paused else take_stage(round)


def take_stage(round: Round, *, by_hand: bool = False) -> Round:
    """Start the round's next stage, or finish it; while its run goes on there is nothing to do.

    A round that was rolled back or paused since it was read stays as it is. by_hand: a paused one goes on.
    """
    if round.state != Round.State.RUNNING:
        return round
    runs = find_runs(round)
    try:
        for stage in list(round.stages):
            run = runs.get(stage)
            if run is None:
                if begin_stage(round, stage, runs, by_hand=by_hand):
                    return round
            elif not run.is_over:
                return round
            elif run.state != Run.State.SUCCEEDED:
                return end_round(
                    round, Round.State.FAILED, cause=f"{run.get_kind_display()} {run.state}. {run.cause}".strip()
                )
        return finish_round(round, runs, by_hand=by_hand)
    except LostRound:
        round.refresh_from_db()
        return round
    except (LearningError, LabelingError, ContractError, OSError) as error:
        return end_round(round, Round.State.FAILED, cause=str(error))


def begin_stage(round: Round, stage: str, runs: dict[str, Run], *, by_hand: bool) -> bool:
    """Start a stage; False when it has nothing to do in this round, and was struck out.

    Raises: LearningError, LostRound.
    """
    if split_stage(stage)[0] == Run.Kind.SAMPLE:
        settle_candidate(round, runs)
    if stage == f"sample:{PREVIOUS}" and find_previous(round) is None:
        return strike_stage(round, stage)
    if stage == "score" and find_reward_model(round, runs) is None:
        return strike_stage(round, stage)
    try:
        start_stage(round, stage, runs, by_hand=by_hand)
    except NotReady as error:
        if stage != "evaluate":
            raise
        return strike_stage(round, stage, because=f"It was not evaluated: {error}.")
    return True


def strike_stage(round: Round, stage: str, *, because: str = "") -> bool:
    """Take a stage out of the round's plan; whoever does it a second time writes the same."""
    round.stages = [each for each in round.stages if each != stage]
    if because and because not in round.reasons:
        round.reasons = [*round.reasons, because]
    Round.objects.filter(pk=round.pk, state=Round.State.RUNNING).update(stages=round.stages, reasons=round.reasons)
    return False


def settle_candidate(round: Round, runs: dict[str, Run]) -> None:
    """Store the policy the round made and let the gate decide before it samples, where that needs no votes.

    People's gate may turn a candidate down for what it has forgotten: it then costs them not one judgment.
    """
    candidate = find_candidate(round, runs)
    if candidate is None:
        return
    if round.candidate is None:
        # Not of a round that was rolled back meanwhile: nobody would ever decide about it.
        Round.objects.filter(pk=round.pk, candidate=None, state=Round.State.RUNNING).update(candidate=candidate)
        round.candidate = candidate
    if round.base is None or read_terms(round).gate in SETTLED_BY_FIGURES:
        settle_round(round, must_decide="No votes are waited for.")
    else:
        turn_down(round)


def finish_round(round: Round, runs: dict[str, Run], *, by_hand: bool) -> Round:
    """Put the round's pairs into the queue, put stale ones behind them, and end it. Raises: LostRound."""
    counts = queue_round(
        round, runs["sample"], runs.get(f"sample:{PREVIOUS}"), scored=runs.get("score"), by_hand=by_hand
    )
    with hold_round(round, by_hand=by_hand):
        counts["stale"] = apply_stale_rule(round.project, read_terms(round), number=round.number)
        if not counts["queued"] and is_refill(round):
            pause_dry(round, counts)
        return end_round(round, Round.State.SUCCEEDED, n_queued=counts["queued"], counts=dict(counts))


def is_refill(round: Round) -> bool:
    """Say whether the round only fills the queue again."""
    return not any(split_stage(stage)[0] in POLICY_STAGES for stage in round.stages)


def pause_dry(round: Round, counts: dict[str, int]) -> None:
    """Pause a loop that goes by itself when its refill found no pair: the queue is still empty, and so it would go on."""
    named = {"sampled": "samples", "empty": "empty", "same": "said twice", "identity": "that name their writer"}
    named["repeated"] = "pairs asked before"
    found = ", ".join(f"{counts[name]} {words}" for name, words in named.items() if counts.get(name))
    cause = (
        f"round {round.number} found no new pair to ask about ({found or 'no samples'}): "
        "add prompts or draw more completions of each, then resume"
    )
    loops = Loop.objects.filter(project=round.project, state=Loop.State.RUNNING)
    loops.update(state=Loop.State.PAUSED, cause=cause, changed_at=timezone.now())


def end_round(
    round: Round, state: str, *, cause: str = "", n_queued: int = 0, counts: dict[str, int] | None = None
) -> Round:
    """Give a running round its last state, and ring for the loop; a round that is over stays as it is.

    A failure pauses a loop that goes by itself: the next round would most likely fail alike.
    """
    now = timezone.now()
    with transaction.atomic():
        n_ended = Round.objects.filter(pk=round.pk, state=Round.State.RUNNING).update(
            state=state, cause=cause, n_queued=n_queued, counts=counts or {}, finished_at=now
        )
        loops = Loop.objects.filter(project=round.project, state=Loop.State.RUNNING)
        if n_ended and state == Round.State.FAILED:
            words = f"round {round.number} failed: {cause}"
            loops.update(state=Loop.State.PAUSED, cause=words, changed_at=now)
        elif n_ended:
            loops.update(cause="")
            for pk in loops.values_list("pk", flat=True):
                transaction.on_commit(lambda pk=pk: ring("rlhf.advance_loop", pk))  # type: ignore[misc]
    round.refresh_from_db()
    return round
