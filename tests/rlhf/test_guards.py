"""What must never be true of runs, datasets and checkpoints, tried by illegal writes on the database itself."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.models import Project
from rlhf.models import (
    AIJudgment,
    Annotator,
    Checkpoint,
    Constitution,
    Dataset,
    DatasetSource,
    Loop,
    Metric,
    Round,
    Run,
)

pytestmark = [pytest.mark.django_db, pytest.mark.database]

HASH = "a" * 64


@pytest.fixture
def project():
    return Project.objects.create(slug="guarded", name="Guarded")


def make_dataset(project, **changes):
    facts = {"name": "d", "kind": "preference", "sha256": HASH, "train_sha256": HASH, "test_sha256": HASH}
    return Dataset.objects.create(project=project, rule={}, counts={}, n_train=1, n_test=0, **facts | changes)


def make_run(project, **changes):
    return Run.objects.create(project=project, **{"kind": "dpo", "config": {}} | changes)


def end_run(run):
    Run.objects.filter(pk=run.pk).update(state="succeeded", finished_at=timezone.now())


def rename_sealed_dataset(project):
    dataset = make_dataset(project, sealed_at=timezone.now())
    Dataset.objects.filter(pk=dataset.pk).update(name="other")


def add_source_to_sealed_dataset(project):
    dataset = make_dataset(project, sealed_at=timezone.now())
    DatasetSource.objects.create(dataset=dataset, split="train", line=0, comparison_id=1, judgment_id=1)


def add_source_of_no_judgment(project):
    DatasetSource.objects.create(dataset=make_dataset(project), split="train", line=0, comparison_id=1)


def store_dataset_without_a_hash(project):
    make_dataset(project, sha256="none")


def store_the_same_dataset_twice(project):
    make_dataset(project)
    make_dataset(project)


def train_on_an_open_dataset(project):
    make_run(project, dataset=make_dataset(project))


def revive_an_ended_run(project):
    run = make_run(project)
    end_run(run)
    Run.objects.filter(pk=run.pk).update(state="queued", finished_at=None)


def fail_a_succeeded_run(project):
    run = make_run(project)
    end_run(run)
    Run.objects.filter(pk=run.pk).update(state="failed")


def lower_the_fence(project):
    run = make_run(project, attempt=2)
    Run.objects.filter(pk=run.pk).update(attempt=1)


def attempt_once_too_often(project):
    make_run(project, attempt=4)


def run_without_a_lease(project):
    make_run(project, state="running")


def end_without_an_end(project):
    make_run(project, state="failed")


def invent_a_state(project):
    make_run(project, state="paused")


def run_two_of_a_kind(project):
    for _ in range(2):
        make_run(project, state="running", lease_until=timezone.now())


def run_a_stage_of_a_round_twice(project):
    round = Round.objects.create(project=project, number=1, stages=[])
    for _ in range(2):
        make_run(project, round=round)


def begin_two_rounds(project):
    for number in (1, 2):
        Round.objects.create(project=project, number=number, stages=[])


def store_two_metric_rows_of_a_step(project):
    run = make_run(project)
    for _ in range(2):
        Metric.objects.create(run=run, step=1, values={})


def register_under_an_old_fence(project):
    run = make_run(project, attempt=2)
    Checkpoint.objects.create(
        project=project, run=run, attempt=1, name="c", kind="policy", path="p", manifest_sha256=HASH
    )


def register_without_a_manifest(project):
    Checkpoint.objects.create(project=project, name="c", kind="policy", path="p", manifest_sha256="")


def register_a_run_twice(project):
    run = make_run(project, attempt=1)
    for _ in range(2):
        Checkpoint.objects.create(
            project=project, run=run, attempt=1, name="c", kind="policy", path="p", manifest_sha256=HASH
        )


def train_on_a_benchmark(project):
    dataset = make_dataset(project, kind="benchmark")
    Dataset.objects.filter(pk=dataset.pk).update(sealed_at=timezone.now())
    make_run(project, dataset=dataset)


def leave_chance_less_than_a_tenth(project):
    Loop.objects.create(project=project, random_share=0.05)


def decide_about_no_candidate(project):
    Round.objects.create(project=project, number=1, stages=[], decision="promoted", decided_at=timezone.now())


def change_a_constitution(project):
    constitution = Constitution.objects.create(project=project, version=1, principles=[])
    Constitution.objects.filter(pk=constitution.pk).update(principles=["be kind"])


def make_annotator(project, **changes):
    constitution = Constitution.objects.create(project=project, version=1, principles=[])
    facts = {"name": "n", "source": "endpoint", "endpoint": "http://127.0.0.1:1/v1", "template_sha256": HASH}
    return Annotator.objects.create(project=project, constitution=constitution, **facts | changes)


def annotate_from_nowhere(project):
    make_annotator(project, endpoint="")


def be_surer_than_sure(project):
    AIJudgment.objects.create(annotator=make_annotator(project), comparison_id=1, p=1.5, p_ab=1.5)


@pytest.mark.parametrize(
    "write",
    [
        rename_sealed_dataset,
        add_source_to_sealed_dataset,
        add_source_of_no_judgment,
        store_dataset_without_a_hash,
        store_the_same_dataset_twice,
        train_on_an_open_dataset,
        revive_an_ended_run,
        fail_a_succeeded_run,
        lower_the_fence,
        attempt_once_too_often,
        run_without_a_lease,
        end_without_an_end,
        invent_a_state,
        run_two_of_a_kind,
        run_a_stage_of_a_round_twice,
        begin_two_rounds,
        store_two_metric_rows_of_a_step,
        register_under_an_old_fence,
        register_without_a_manifest,
        register_a_run_twice,
        train_on_a_benchmark,
        leave_chance_less_than_a_tenth,
        decide_about_no_candidate,
        change_a_constitution,
        annotate_from_nowhere,
        be_surer_than_sure,
    ],
    ids=lambda write: write.__name__,
)
def test_the_database_refuses_to(write, project):
    with pytest.raises(IntegrityError), transaction.atomic():
        write(project)


def test_the_legal_way_through_a_runs_life_is_open(project):
    dataset = make_dataset(project)
    Dataset.objects.filter(pk=dataset.pk).update(sealed_at=timezone.now())
    run = make_run(project, dataset=dataset)

    Run.objects.filter(pk=run.pk).update(state="running", attempt=1, lease_until=timezone.now())
    Checkpoint.objects.create(
        project=project, run=run, attempt=1, name="c", kind="policy", path="p", manifest_sha256=HASH
    )
    end_run(run)

    run.refresh_from_db()
    assert (run.state, run.attempt, run.checkpoint.name) == ("succeeded", 1, "c")
