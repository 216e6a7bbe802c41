from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.models import Project
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.domain import runs
from rlhf.domain.errors import LostLease
from rlhf.models import Metric, Run

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def project():
    return Project.objects.create(slug="learning", name="Learning")


@pytest.fixture
def run(project):
    return runs.create_run(project, DPOConfig(beta=0.2))


def let_the_lease_run_out(run):
    Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_new_run_waits_with_its_configuration(run):
    assert (run.state, run.attempt, run.load_config()) == ("queued", 0, DPOConfig(beta=0.2))


def test_only_the_first_of_two_workers_claims_a_run(run):
    first = runs.claim_run(run.pk)

    second = runs.claim_run(run.pk)

    assert (first.state, first.attempt, second) == ("running", 1, None)


def test_a_run_whose_lease_ran_out_is_claimed_again_under_a_higher_fence(run):
    runs.claim_run(run.pk)
    let_the_lease_run_out(run)

    again = runs.claim_run(run.pk)

    assert again.attempt == 2


def test_a_worker_that_slept_past_its_lease_can_write_nothing(run):
    sleeper = runs.claim_run(run.pk)
    let_the_lease_run_out(run)
    runs.claim_run(run.pk)

    with pytest.raises(LostLease):
        runs.record_metrics(sleeper, [{"step": 1, "values": {"loss": 9.0}}])
    with pytest.raises(LostLease):
        runs.renew_lease(sleeper)
    with pytest.raises(LostLease):
        runs.end_run(sleeper, Run.State.SUCCEEDED)

    assert list(Metric.objects.all()) == []


def test_a_second_run_of_the_kind_waits_for_the_first(project, run):
    other = runs.create_run(project, DPOConfig())
    runs.claim_run(run.pk)

    assert runs.claim_run(other.pk) is None


def test_metrics_of_one_step_are_one_row_and_a_repeated_step_is_overwritten(run):
    claimed = runs.claim_run(run.pk)
    runs.record_metrics(claimed, [{"step": 1, "values": {"loss": 0.7}}, {"step": 1, "values": {"grad_norm": 1.0}}])

    runs.record_metrics(claimed, [{"step": 1, "values": {"loss": 0.5}}])

    assert list(Metric.objects.values_list("step", "values")) == [(1, {"loss": 0.5})]


def test_a_queued_run_is_cancelled_at_once(run):
    cancelled = runs.cancel_run(run)

    assert (cancelled.state, runs.claim_run(run.pk)) == ("cancelled", None)


def test_the_worker_of_a_running_run_is_told_to_cancel_it(run):
    claimed = runs.claim_run(run.pk)
    assert runs.renew_lease(claimed) is False

    runs.cancel_run(run)

    assert runs.renew_lease(claimed) is True


def test_cancelling_a_run_that_is_over_changes_nothing(run):
    claimed = runs.claim_run(run.pk)
    runs.end_run(claimed, Run.State.SUCCEEDED, result={"loss": 0.1})

    late = runs.cancel_run(run)

    assert (late.state, late.cancel_requested_at) == ("succeeded", None)


def test_an_orderly_stop_does_not_use_up_attempts(run):
    for _ in range(5):
        claimed = runs.claim_run(run.pk)
        runs.hand_back_run(claimed)

    run.refresh_from_db()
    assert (run.state, run.attempt, run.handed_back) == ("queued", 5, 5)


def test_a_run_that_crashes_every_time_fails_after_three_attempts_with_its_cause(run):
    for _ in range(3):
        claimed = runs.claim_run(run.pk)
        runs.requeue_run(claimed, "the learning process was killed by signal 9 (out of memory?)")

    run.refresh_from_db()
    assert (run.state, run.cause) == (
        "failed",
        "the learning process was killed by signal 9 (out of memory?); gave up after 3 attempts",
    )


def test_the_sweeper_ends_a_run_whose_workers_keep_vanishing(run):
    for _ in range(3):
        runs.claim_run(run.pk)
        let_the_lease_run_out(run)

    runs.sweep_runs()

    run.refresh_from_db()
    assert (run.state, run.cause) == ("failed", "its worker vanished 3 times; see the run's log")


def test_the_sweeper_cancels_what_was_to_be_cancelled_when_its_worker_vanished(run):
    runs.claim_run(run.pk)
    runs.cancel_run(run)
    let_the_lease_run_out(run)

    runs.sweep_runs()

    run.refresh_from_db()
    assert run.state == "cancelled"


def test_the_sweeper_leaves_a_run_with_a_live_lease_alone(run):
    claimed = runs.claim_run(run.pk)

    runs.sweep_runs()

    run.refresh_from_db()
    assert (run.state, run.attempt) == ("running", claimed.attempt)
