"""What was judged is looked at in the administration and never touched there."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from labeling.models import Judgment, Project, User
from tests.labeling.rows import add_pair, claim, judge

EDITABLE = {User, Project}
MODELS = [model for model in admin.site._registry if model._meta.app_label == "labeling" and model not in EDITABLE]


@pytest.fixture
def as_admin(db):
    client = Client()
    user = User.objects.create_superuser("root", password="correct horse")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def judgment(kitchen, grace):
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)
    return Judgment.objects.get()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_what_people_said_is_shown_and_not_added_to(as_admin, judgment, model):
    name = f"admin:labeling_{model._meta.model_name}"

    statuses = [as_admin.get(reverse(f"{name}_{verb}")).status_code for verb in ("changelist", "add")]

    assert statuses == [200, 403]


def test_a_judgment_is_neither_changed_nor_deleted(as_admin, judgment):
    change, delete = (reverse(f"admin:labeling_judgment_{verb}", args=[judgment.pk]) for verb in ("change", "delete"))
    before = Judgment.objects.values().get()

    statuses = [as_admin.post(address, {"verdict": "TIE"}).status_code for address in (change, delete)]

    assert statuses == [403, 403]
    assert Judgment.objects.values().get() == before


@pytest.mark.parametrize("app", ["labeling", "rlhf"])
def test_no_list_of_rows_counts_them_all(app):
    """The header's second count reads the whole table, millions of rows of it."""
    counting = [
        model.__name__
        for model, pages in admin.site._registry.items()
        if model._meta.app_label == app and model not in EDITABLE and pages.show_full_result_count
    ]

    assert counting == []
