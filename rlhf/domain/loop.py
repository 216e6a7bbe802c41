"""A loop's life: stopped, running or paused, moved by conditional updates; what it does next is read from rows.

Stopped: no round begins by itself; one under way goes to its end. Paused: nothing new starts, not even the next stage.
Running: wait for labels, freeze, train, evaluate, gate, promote, sample, queue, and again. `advance_loop` may be called by
anybody at any time - a task, the sweeper, a vote that reaches the threshold - and twice at once.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from labeling.domain.audit import record_event
from labeling.domain.doorbell import ring
from labeling.models import Project, User
from rlhf.domain.checkpoints import newest_policy
from rlhf.domain.counting import count_new_judgments, list_new_votes, measure_agreement
from rlhf.domain.errors import NotReady
from rlhf.domain.listening import listen_again
from rlhf.domain.promoting import NO_MORE_VOTES, find_pending, is_votes_dry, settle_round
from rlhf.domain.quota import read_quota
from rlhf.domain.rounds import advance_round, open_refill, open_round, take_stage
from rlhf.domain.supply import find_supplied, raise_supply
from rlhf.domain.terms import get_loop
from rlhf.models import Checkpoint, Loop, Round


def current_policy(loop: Loop) -> Checkpoint | None:
    """Return the policy promoted last, or before any was the newest worth starting from."""
    return loop.policy or newest_policy(loop.project)


def find_running(project: Project) -> Round | None:
    """Return the round under way."""
    running = Round.objects.filter(project=project, state=Round.State.RUNNING)
    return running.select_related("project", "base", "candidate").first()


# --- what people do ---------------------------------------------------------------------------------------------------


def start_loop(loop: Loop, *, user: User | None = None) -> Loop:
    """Let a stopped loop go by itself. Raises: NotReady without a policy, and when it is not stopped."""
    if current_policy(loop) is None and find_running(loop.project) is None:
        raise NotReady(f"{loop.project} has no policy yet: train one with sft, or register a model folder")
    if loop.max_rounds and count_rounds(loop.project) >= loop.max_rounds and find_pending(loop.project) is None:
        raise NotReady(
            f"the loop of {loop.project} has gone its {loop.max_rounds} rounds: let it go more of them first"
        )
    return move_loop(loop, Loop.State.RUNNING, sources=[Loop.State.STOPPED], user=user)


def pause_loop(loop: Loop, *, user: User | None = None, because: str = "") -> Loop:
    """Start nothing new until it is resumed; the run under way goes on. Raises: NotReady when it is paused already."""
    cause = name_cause("paused", user, because)
    return move_loop(loop, Loop.State.PAUSED, sources=[Loop.State.RUNNING, Loop.State.STOPPED], user=user, cause=cause)


def resume_loop(loop: Loop, *, user: User | None = None) -> Loop:
    """Let a paused loop go by itself again. Raises: NotReady when it is not paused."""
    return move_loop(loop, Loop.State.RUNNING, sources=[Loop.State.PAUSED], user=user)


def stop_loop(loop: Loop, *, user: User | None = None, because: str = "") -> Loop:
    """Begin no round by itself any more; one under way goes to its end. Raises: NotReady when it is stopped already."""
    cause = name_cause("stopped", user, because)
    return move_loop(loop, Loop.State.STOPPED, sources=[Loop.State.RUNNING, Loop.State.PAUSED], user=user, cause=cause)


def step_loop(loop: Loop, *, user: User | None = None) -> Round:
    """Take one stage by hand: start the next run, or finish the round, or begin one. The loop is paused after it.

    Raises: NotReady when the loop goes by itself, a run is under way, or a round cannot begin.
    """
    round = find_running(loop.project)
    if loop.state == Loop.State.RUNNING or (round is not None and loop.state == Loop.State.STOPPED):
        raise NotReady(f"the loop of {loop.project} goes by itself: pause it before you step")
    if round is not None:
        if busy := next((run for run in round.runs.all() if not run.is_over), None):
            raise NotReady(f"{busy} is {busy.state}: step again when it is over")
        return take_stage(round, by_hand=True)
    # Together: a round that cannot begin leaves the loop stopped, and one that begins finds it paused.
    with transaction.atomic():
        round = prepare_round(loop)
        if loop.state == Loop.State.STOPPED:
            pause_loop(loop, user=user, because="to go step by step")
    return take_stage(round, by_hand=True)


def start_round(project: Project, *, user: User | None = None) -> Round:
    """Go one round by hand: begin the next, or let a paused one go to its end. Raises: NotReady."""
    loop = get_loop(project)
    round = find_running(project) if loop.state == Loop.State.PAUSED else None
    round = round or prepare_round(loop)
    if loop.state == Loop.State.PAUSED:
        stop_loop(loop, user=user, because=f"after round {round.number}")
        ring("rlhf.advance_round", round.pk)
    return round


def move_loop(loop: Loop, state: str, *, sources: list[Loop.State], user: User | None, cause: str = "") -> Loop:
    """Move a loop between states once, keep the event, and ring for it. Raises: NotReady when someone was first."""
    before = loop.state
    n_moved = Loop.objects.filter(pk=loop.pk, state__in=sources).update(
        state=state, cause=cause, changed_at=timezone.now()
    )
    loop.refresh_from_db()
    listen_again()
    if not n_moved:
        raise NotReady(
            f"the loop of {loop.project} is {loop.state} already" + (f": {loop.cause}" if loop.cause else "")
        )
    after = {"state": state, "cause": cause}
    record_event(f"loop.{state}", str(loop), actor=user, project=loop.project, before={"state": before}, after=after)
    if state == Loop.State.RUNNING:
        raise_supply(loop.project)
    if state != Loop.State.PAUSED:
        ring("rlhf.advance_loop", loop.pk)
    return loop


def name_cause(done: str, user: User | None, because: str) -> str:
    """Say who did it and why: "paused by ada: the guideline changes"."""
    return done + (f" by {user}" if user else "") + (f": {because}" if because else "")


# --- what it does by itself -------------------------------------------------------------------------------------------


def advance_loop(pk: int) -> Loop:
    """Do what is next for a running loop: move its round, decide about its candidate, or begin a round."""
    loop = Loop.objects.select_related("project", "policy", "slice").get(pk=pk)
    round = find_running(loop.project)
    if round is not None:
        advance_round(round.pk)
    elif loop.state == Loop.State.RUNNING:
        begin_next(loop)
    return loop


def begin_next(loop: Loop) -> None:
    """Begin the round that is due, or keep with the loop what holds it back."""
    quota = read_quota(loop)
    n_new, is_supplied = list_new_votes(quota).count(), bool(find_supplied([quota]))
    is_last = loop.max_rounds > 0 and count_rounds(loop.project) >= loop.max_rounds
    pending = find_pending(loop.project)
    # Once, when the quota is full: a gate that looks after every vote lets the lucky pass.
    if pending is not None and (n_new >= loop.threshold or is_last or not is_supplied):
        pending = settle_round(pending)
        loop.refresh_from_db()
    try:
        if n_new >= loop.threshold or is_last:
            hold_or_open(loop, pending, is_last=is_last)
        elif not is_supplied:
            policy = pending.candidate if pending is not None and not pending.decision else current_policy(loop)
            if policy is not None:
                open_refill(loop, base=policy)
    except NotReady as error:
        hold_loop(loop, str(error))  # someone else was first, or something is missing that people see to


def hold_or_open(loop: Loop, pending: Round | None, *, is_last: bool) -> None:
    """Begin the next round, or stop after the last, unless the gate waits for votes, or labelers agree too little.

    Raises: NotReady.
    """
    if pending is not None and not pending.decision:
        if not is_votes_dry(pending):
            hold_loop(loop, f"waits for the gate's word on {pending.candidate}: " + " ".join(pending.reasons))
            return
        settle_last(pending)
        loop.refresh_from_db()
    if is_last:
        stop_loop(loop, because=f"it went its {loop.max_rounds} rounds")
        return
    share, n_pairs = measure_agreement(loop) if loop.min_agreement is not None else (1.0, 0)
    if loop.min_agreement is not None and n_pairs and share < loop.min_agreement:
        hold_loop(
            loop,
            f"labelers agree in {share:.0%} of {n_pairs} pairs of votes since the last round, and {loop.min_agreement:.0%} "
            f"is asked for: look at what they dispute, or lower the limit",
        )
        return
    prepare_round(loop)


def prepare_round(loop: Loop) -> Round:
    """Open the next round that learns. Raises: NotReady when judgments are too few, or there is no policy."""
    project = loop.project
    n_new = count_new_judgments(project)
    if n_new < loop.threshold:
        raise NotReady(
            f"{n_new} of the {loop.threshold} new judgments a round needs on {read_quota(loop).pairs}: judge more at "
            f"{project.get_absolute_url()}"
        )
    if (pending := find_pending(project)) is not None:
        settle_last(pending, because="The next round was begun by hand before it had its votes.")
        loop.refresh_from_db()
    base = current_policy(loop)
    if base is None:
        raise NotReady(f"{project} has no policy yet: train one with sft, or register a model folder")
    return open_round(project, base=base)


def settle_last(pending: Round | None, *, because: str = NO_MORE_VOTES) -> None:
    """Decide about a candidate of which no more is learned: without the gate's word it stays one, and that is why."""
    if pending is not None and not pending.decision:
        settle_round(pending, must_decide=because)


def hold_loop(loop: Loop, cause: str) -> None:
    """Keep with a running loop what holds it back; while a round is under way nothing does: someone else was first."""
    running = Round.objects.filter(project=OuterRef("project"), state=Round.State.RUNNING)
    held = Loop.objects.filter(~Exists(running), pk=loop.pk, state=Loop.State.RUNNING)
    held.exclude(cause=cause).update(cause=cause)


def count_rounds(project: Project) -> int:
    """Return how many rounds have learned from judgments and did not fail."""
    learned = Round.objects.filter(project=project, base__isnull=False, candidate__isnull=False)
    return learned.exclude(state=Round.State.FAILED).count()
