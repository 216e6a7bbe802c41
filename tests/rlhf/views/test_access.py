"""The learning half is there for superusers and for managers, their own projects only; for everyone else it is not."""

from __future__ import annotations

import pytest
from django.urls import reverse

from tests.rlhf.conftest import make_checkpoint, make_dataset, make_run

LISTS = ["loop-list", "progress", "dataset-list", "dataset-create", "run-list", "run-create", "checkpoint-list"]
ROWS = {"run-detail": "run", "dataset-detail": "dataset", "checkpoint-detail": "checkpoint"}


@pytest.fixture
def rows(project):
    """One of each, so that there is something that could leak."""
    return {
        "run": make_run(project, kind="sft", state="succeeded"),
        "dataset": make_dataset(project),
        "checkpoint": make_checkpoint(project, name="secret-policy"),
    }


def addresses(rows):
    return [reverse(f"rlhf:{name}") for name in LISTS] + [
        reverse(f"rlhf:{name}", args=[rows[noun].pk]) for name, noun in ROWS.items()
    ]


def test_pages_are_open_to_the_manager(as_manager, rows):
    statuses = {as_manager.get(address).status_code for address in addresses(rows)}

    assert statuses == {200, 286}


def test_pages_do_not_exist_for_a_labeler(as_labeler, rows):
    answers = [as_labeler.get(address) for address in addresses(rows)]

    assert {answer.status_code for answer in answers} == {404}
    assert not any(b"secret-policy" in answer.content for answer in answers)


def test_a_manager_of_another_project_sees_empty_lists_and_no_row(as_stranger, rows):
    lists = [as_stranger.get(reverse(f"rlhf:{name}")) for name in LISTS]
    details = [as_stranger.get(reverse(f"rlhf:{name}", args=[rows[noun].pk])) for name, noun in ROWS.items()]

    assert [answer.status_code for answer in details] == [404, 404, 404]
    assert not any(name in answer.content for answer in lists for name in (b"secret-policy", b"Harbour"))


def test_strangers_are_sent_to_the_login_page_and_back(client, rows):
    for address in addresses(rows):
        answer = client.get(address)

        assert (answer.status_code, answer["Location"]) == (302, f"/accounts/login/?next={address}")


def test_a_lost_login_takes_the_whole_browser_and_not_the_polled_piece(client, db):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/"}

    answer = client.get("/loop/progress/", headers=headers)

    assert answer["HX-Redirect"].startswith("/accounts/login/")


@pytest.mark.parametrize("name", ["run-cancel", "round-create", "loop-update"])
def test_a_labeler_can_start_and_stop_nothing(as_labeler, project, name):
    run = make_run(project)
    argument = run.pk if name == "run-cancel" else project.slug

    answer = as_labeler.post(reverse(f"rlhf:{name}", args=[argument]))

    run.refresh_from_db()
    assert (answer.status_code, run.state) == (404, "queued")


@pytest.mark.parametrize("name", ["run-cancel", "round-create", "loop-update"])
def test_a_get_changes_nothing(as_manager, project, name):
    argument = make_run(project).pk if name == "run-cancel" else project.slug

    assert as_manager.get(reverse(f"rlhf:{name}", args=[argument])).status_code == 405


def test_only_superusers_may_name_a_folder_of_the_server(as_manager, as_admin, project):
    address = reverse("rlhf:checkpoint-create")

    assert (as_manager.get(address).status_code, as_admin.get(address).status_code) == (404, 200)
