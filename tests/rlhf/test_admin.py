from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from rlhf.models import Metric
from tests.rlhf.conftest import log_metrics, make_checkpoint, make_dataset, make_round, make_run

MODELS = [model for model in admin.site._registry if model._meta.app_label == "rlhf"]


@pytest.fixture
def rows(project):
    run = make_run(project, state="succeeded", round=make_round(project), dataset=make_dataset(project))
    log_metrics(run, 1, loss=0.5)
    make_checkpoint(project, run=run)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_the_administration_shows_rows_and_takes_none(as_admin, rows, model):
    name = f"admin:rlhf_{model._meta.model_name}"

    assert as_admin.get(reverse(f"{name}_changelist")).status_code == 200
    assert as_admin.get(reverse(f"{name}_add")).status_code == 403


def test_a_row_can_be_looked_at_and_neither_changed_nor_deleted(as_admin, rows):
    pk = Metric.objects.get().pk
    change, delete = (reverse(f"admin:rlhf_metric_{verb}", args=[pk]) for verb in ("change", "delete"))

    assert as_admin.get(change).status_code == 200
    assert as_admin.post(change, {"step": 9}).status_code == 403
    assert as_admin.post(delete, {"post": "yes"}).status_code == 403
    assert list(Metric.objects.values_list("step", "values")) == [(1, {"loss": 0.5})]
