"""What was judged is looked at in the administration and never touched there."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from labeling.models import AuditEvent, Judgment, User
from tests.labeling.rows import add_pair, claim, judge

EDITABLE = {User}
MODELS = [model for model in admin.site._registry if model._meta.app_label == "labeling" and model not in EDITABLE]


@pytest.fixture
def as_admin(db):
    client = Client()
    user = User.objects.create_superuser("root", password="correct horse")
    client.force_login(user, backend="labeling.accounts.PasswordBackend")
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


def test_what_is_done_to_accounts_is_on_the_trail(as_admin, grace):
    page = reverse("admin:labeling_user_change", args=[grace.pk])
    form = as_admin.get(page).context["adminform"].form
    said = {name: value for name in form.fields if (value := form[name].value()) not in (None, False, [])}
    said |= {"date_joined_0": "2026-01-01", "date_joined_1": "10:00:00"}
    inline = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}

    as_admin.post(page, {**said, **inline, "email": "grace@example.org", "is_staff": "on"})
    as_admin.post(
        reverse("admin:auth_user_password_change", args=[grace.pk]),
        {"password1": "a new one 5", "password2": "a new one 5"},
    )
    as_admin.post(reverse("admin:labeling_user_delete", args=[grace.pk]), {"post": "yes"})

    events = AuditEvent.objects.filter(verb__startswith="user.").order_by("id")
    assert [(row.verb, row.subject, str(row.actor)) for row in events] == [
        ("user.edit", "grace", "root"),
        ("user.password", "grace", "root"),
        ("user.delete", "grace", "root"),
    ]
    changed = events[0]
    assert (changed.before["email"], changed.after["email"]) == ("", "grace@example.org")
    assert (changed.before["is_staff"], changed.after["is_staff"]) == (False, True)
    assert "password" not in str(changed.after)


def test_who_may_do_what_is_on_the_trail(as_admin, grace):
    right = Permission.objects.get(codename="view_judgment")
    as_admin.post(reverse("admin:auth_group_add"), {"name": "auditors", "permissions": [right.pk]})
    group = Group.objects.get()
    page = reverse("admin:labeling_user_change", args=[grace.pk])
    form = as_admin.get(page).context["adminform"].form
    said = {name: value for name in form.fields if (value := form[name].value()) not in (None, False, [])}
    said |= {"date_joined_0": "2026-01-01", "date_joined_1": "10:00:00"}
    inline = {f"memberships-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}

    as_admin.post(page, {**said, **inline, "groups": [group.pk], "user_permissions": [right.pk]})
    as_admin.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "auditors", "permissions": []})
    as_admin.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})

    added, user, emptied, deleted = AuditEvent.objects.filter(actor__username="root").order_by("id")
    assert (added.verb, added.after) == ("group.add", {"name": "auditors", "permissions": [str(right)]})
    assert (user.before["groups"], user.after["groups"]) == ([], ["auditors"])
    assert (user.before["user_permissions"], user.after["user_permissions"]) == ([], [str(right)])
    assert (emptied.verb, emptied.before, emptied.after) == (
        "group.edit",
        {"permissions": [str(right)]},
        {"permissions": []},
    )
    assert (deleted.verb, deleted.subject) == ("group.delete", "auditors")


@pytest.mark.parametrize("app", ["labeling", "rlhf"])
def test_no_list_of_rows_counts_them_all(app):
    """The header's second count reads the whole table, millions of rows of it."""
    counting = [
        model.__name__
        for model, pages in admin.site._registry.items()
        if model._meta.app_label == app and model not in EDITABLE and pages.show_full_result_count
    ]

    assert counting == []
