"""A run's life: queued -> running -> succeeded | failed | cancelled, moved by conditional updates only.

Every write of a worker carries the attempt it claimed; an update of zero rows means the run went to someone else.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from labeling.domain.audit import record_event
from labeling.domain.doorbell import SWEEP_S, ring, send_message
from labeling.models import Project, User
from rlhf.contract.settings import RunConfig
from rlhf.domain.devices import count_free, count_needed, list_devices
from rlhf.domain.errors import LostLease
from rlhf.domain.forecasting import estimate_new_run, require_fit
from rlhf.models import Checkpoint, Dataset, Metric, Round, Run

LEASE = timedelta(seconds=60)


def create_run(
    project: Project,
    config: RunConfig,
    *,
    dataset: Dataset | None = None,
    base: Checkpoint | None = None,
    reward_model: Checkpoint | None = None,
    other: Checkpoint | None = None,
    round: Round | None = None,
    part: str = "",
    user: User | None = None,
    force: bool = False,
) -> Run:
    """Queue a run with its estimate and ring for it once the row is committed.

    Args:
        part: what a stage of a round is for, see stages.py.
        force: queue it although the host has not half the memory it would need.
    Raises: DoesNotFit.
    """
    estimate = estimate_new_run(config, dataset=dataset, base=base)
    if estimate and not force:
        require_fit(estimate)
    with transaction.atomic():
        run = Run.objects.create(
            project=project,
            kind=config.kind,
            config=json.loads(config.to_json()),
            dataset=dataset,
            base=base,
            reward_model=reward_model,
            other=other,
            round=round,
            part=part,
            created_by=user,
            estimate=asdict(estimate) if estimate else {},
        )
        if user is not None:  # what a loop starts is in its rounds
            record_event("run.start", run, actor=user, project=project, after={"kind": run.kind, "config": run.config})
        transaction.on_commit(lambda: ring("rlhf.execute_run", run.pk))
    return run


def claim_run(pk: int) -> Run | None:
    """Take the run if nobody works on it, raising its attempt; None when someone was first or it is over."""
    claimable = Run.objects.claimable().filter(
        pk=pk, attempt__lt=F("max_attempts") + F("handed_back"), cancel_requested_at__isnull=True
    )
    try:
        with transaction.atomic():
            n_claimed = claimable.update(
                state=Run.State.RUNNING,
                attempt=F("attempt") + 1,
                lease_until=Now() + LEASE,
                started_at=Coalesce("started_at", Now()),
                stage="starting",
            )
            return (
                Run.objects.select_related("dataset", "base", "reward_model", "other").get(pk=pk) if n_claimed else None
            )
    except IntegrityError:
        return None  # one_running_run_per_kind: it waits for its turn, the sweeper rings again


def renew_lease(run: Run, *, progress: dict[str, Any] | None = None) -> bool:
    """Keep the run for another lease and store its progress; say whether someone asked to cancel it.

    Raises: LostLease.
    """
    shown = {key: progress[key] for key in ("stage", "step", "total_steps", "eta_s")} if progress else {}
    if not Run.objects.held(run.attempt).filter(pk=run.pk).update(lease_until=Now() + LEASE, **shown):
        raise LostLease(f"{run} is no longer attempt {run.attempt}")
    return is_cancel_requested(run)


def record_metrics(run: Run, lines: list[dict[str, Any]]) -> None:
    """Store logged values; a resumed run overwrites the steps it repeats. Raises: LostLease."""
    if not lines:
        return
    by_step: dict[int, dict[str, float]] = {}
    for line in lines:
        by_step.setdefault(line["step"], {}).update(line["values"])
    with transaction.atomic():
        if not Run.objects.held(run.attempt).filter(pk=run.pk).update(lease_until=Now() + LEASE):
            raise LostLease(f"{run} is no longer attempt {run.attempt}")
        rows = [Metric(run=run, step=step, values=values) for step, values in by_step.items()]
        Metric.objects.bulk_create(
            rows, batch_size=200, update_conflicts=True, unique_fields=["run", "step"], update_fields=["values"]
        )


def record_alarms(run: Run, alarms: list[dict[str, Any]]) -> None:
    """Store signs of over-optimization; one that was told before stays as it was told. Raises: LostLease."""
    known = {alarm["name"] for alarm in run.alarms}
    new = [alarm for alarm in alarms if alarm["name"] not in known]
    if not new:
        return
    run.alarms = [*run.alarms, *new]
    if not Run.objects.held(run.attempt).filter(pk=run.pk).update(alarms=run.alarms):
        raise LostLease(f"{run} is no longer attempt {run.attempt}")


def end_run(run: Run, state: str, *, result: dict[str, Any] | None = None, cause: str = "") -> None:
    """Give the run its last state. Raises: LostLease."""
    n_ended = (
        Run.objects.held(run.attempt)
        .filter(pk=run.pk)
        .update(state=state, result=result or {}, cause=cause, finished_at=timezone.now(), lease_until=None, eta_s=None)
    )
    if not n_ended:
        raise LostLease(f"{run} is no longer attempt {run.attempt}")
    run.refresh_from_db()


def hand_back_run(run: Run) -> None:
    """Put a run this worker must leave back into the queue; the attempt is not counted against it."""
    Run.objects.held(run.attempt).filter(pk=run.pk).update(
        state=Run.State.QUEUED,
        handed_back=F("handed_back") + 1,
        lease_until=None,
        stage="waiting for a worker",
        eta_s=None,
    )


def requeue_run(run: Run, cause: str) -> None:
    """After a crash: queue the run again, or fail it when its attempts are used up."""
    if run.attempt - run.handed_back >= run.max_attempts:
        end_run(run, Run.State.FAILED, cause=f"{cause}; gave up after {run.max_attempts} attempts")
        return
    n_requeued = (
        Run.objects.held(run.attempt)
        .filter(pk=run.pk)
        .update(state=Run.State.QUEUED, lease_until=None, stage="waiting to try again", cause=cause)
    )
    if n_requeued:
        ring("rlhf.execute_run", run.pk)


@transaction.atomic
def cancel_run(run: Run, *, user: User | None = None) -> Run:
    """Cancel a queued run at once; ask the worker of a running one to stop it. A run that is over stays as it is."""
    now = timezone.now()
    n_met = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).update(
        state=Run.State.CANCELLED, cancel_requested_at=now, finished_at=now
    )
    if not n_met:
        n_met = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(cancel_requested_at=now)
    if n_met:
        record_event("run.cancel", run, actor=user, project=run.project)
    run.refresh_from_db()
    return run


def sweep_runs() -> None:
    """Ring for every run nobody works on, and end those that cannot be worked on any more."""
    for run in Run.objects.claimable():
        if run.cancel_requested_at:
            end_abandoned_run(run, Run.State.CANCELLED, "")
        elif run.attempt - run.handed_back >= run.max_attempts:
            end_abandoned_run(run, Run.State.FAILED, f"its worker vanished {run.max_attempts} times; see the run's log")
        else:
            send_message("rlhf.execute_run", run.pk, expires_s=SWEEP_S)


def ring_next() -> None:
    """Ring at once for all queued runs that this host could start: the sweeper's messages may have expired meanwhile.

    Those that have waited longest, as many as its free GPUs are enough for; none that waits for another of its kind.
    """
    n_free = count_free() if list_devices() else 1
    busy = set(Run.objects.filter(state=Run.State.RUNNING).values_list("project", "kind"))
    waiting = Run.objects.filter(state=Run.State.QUEUED).order_by("pk").values_list("pk", "project", "kind")
    for pk, project, kind in waiting:
        n_needed = count_needed(kind) or 1
        if n_needed <= n_free and (project, kind) not in busy:
            ring("rlhf.execute_run", pk)
            busy.add((project, kind))
            n_free -= n_needed


def is_cancel_requested(run: Run) -> bool:
    """Say whether someone asked to cancel the run."""
    return Run.objects.filter(pk=run.pk, cancel_requested_at__isnull=False).exists()


def end_abandoned_run(run: Run, state: str, cause: str) -> None:
    """End a run whose lease ran out, unless someone claimed it meanwhile."""
    Run.objects.claimable().filter(pk=run.pk, attempt=run.attempt).update(
        state=state, cause=cause, finished_at=timezone.now(), lease_until=None
    )
