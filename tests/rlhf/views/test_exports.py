"""The pages of exports: who sees them, what they refuse, and the file as the browser gets it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import timezone

from labeling.models import AuditEvent
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.exporting import request_dataset_export, request_judgment_export, write_export
from rlhf.models import Export
from tests.rlhf.conftest import judge, make_comparison, make_dataset

LIST = "/exports/"


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


@pytest.fixture
def ready(project, manager):
    export = request_dataset_export(make_dataset(project), manager, format="trl", split="train")
    write_export(export.pk)
    export.refresh_from_db()
    return export


def file_of(export: Export) -> str:
    return reverse("rlhf:export-download", args=[export.pk])


def test_a_dataset_is_asked_for_waits_and_is_fetched(as_manager, project, manager):
    dataset = make_dataset(project)
    asked = {"dataset": dataset.pk, "format": "kto", "split": "both"}

    response = as_manager.post(reverse("rlhf:dataset-export-create"), asked)

    export = Export.objects.get()
    assert (response.status_code, response.url) == (302, f"/exports/{export.pk}/")
    assert (export.dataset, export.format, export.options, export.created_by) == (
        dataset,
        "kto",
        {"split": "both"},
        manager,
    )
    waiting = as_manager.get(response.url)
    assert 'hx-trigger="every 2s"' in waiting.content.decode()
    assert as_manager.get(response.url, headers={"hx-request": "true"}).status_code == 200
    assert as_manager.get(file_of(export)).url == response.url
    write_export(export.pk)
    done = as_manager.get(response.url, headers={"hx-request": "true"})
    assert (done.status_code, f'href="{file_of(export)}"' in done.content.decode()) == (286, True)


def test_the_file_is_the_domains_byte_for_byte_and_can_only_be_saved(as_manager, ready, manager):
    response = as_manager.get(file_of(ready))

    assert b"".join(response.streaming_content) == default_storage.open(ready.file).read()
    assert response["Content-Disposition"] == f'attachment; filename="{ready.filename}"'
    assert response["Content-Type"] == "application/gzip"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response["Cache-Control"]
    event = AuditEvent.objects.get(verb="export.download")
    assert (event.actor, event.subject) == (manager, str(ready))


def test_a_name_with_anything_in_it_gives_a_harmless_file_name(as_manager, project, manager):
    rows = [{"text": "t"}]
    name = '../../x"\r\nSet-Cookie: a=b; ü.exe'
    dataset = freeze_rows(project, kind="text", name=name, train=rows, test=[], rule={})
    export = request_dataset_export(dataset, manager, format="trl", split="train")
    write_export(export.pk)

    response = as_manager.get(file_of(export))

    assert response["Content-Disposition"] == 'attachment; filename="x-set-cookie-ab-uexe-trl-train.jsonl.gz"'


def test_after_its_time_the_file_is_410_and_the_page_says_what_to_do(as_manager, ready):
    Export.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    response = as_manager.get(file_of(ready))

    assert response.status_code == 410
    assert "kept for 7 days and is gone: ask for it again" in response.content.decode()
    assert not AuditEvent.objects.filter(verb="export.download").exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": "kto"}, "has no such rows: use trl or sft or parquet."),
        ({"format": "xml"}, "xml is not one of the available choices"),
        ({"split": "test"}, "has no test rows."),
        ({"dataset": "0"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_exported_is_said_beside_the_field(as_manager, project, fields, reason):
    dataset = make_dataset(project, kind="demonstration", n_test=0)
    asked = {"dataset": dataset.pk, "format": "trl", "split": "both"} | fields

    response = as_manager.post(reverse("rlhf:dataset-export-create"), asked)

    assert response.status_code == 422
    assert reason in response.content.decode()
    assert Export.objects.count() == 0


def test_judgments_are_asked_for_with_or_without_notes(as_manager, project, labeler):
    judge(make_comparison(project), labeler)

    for notes in ({}, {"with_notes": "on"}):
        as_manager.post(reverse("rlhf:judgment-export-create"), {"project": "harbour", "format": "judgments"} | notes)

    assert [export.options for export in Export.objects.order_by("pk")] == [
        {"with_notes": False},
        {"with_notes": True},
    ]


@pytest.mark.parametrize("path", [LIST, "/exports/{pk}/", "/exports/{pk}/file/"])
def test_exports_are_not_there_for_others(as_labeler, as_stranger, client, ready, path):
    address = path.format(pk=ready.pk)

    assert as_labeler.get(address).status_code == 404
    assert client.get(address).url.startswith("/accounts/login/")
    if path != LIST:
        assert as_stranger.get(address).status_code == 404
    assert not AuditEvent.objects.filter(verb="export.download").exists()


@pytest.mark.parametrize("kind", ["dataset", "judgment"])
def test_nobody_exports_what_she_does_not_manage(as_stranger, as_labeler, project, kind):
    dataset = make_dataset(project)
    asked = {"dataset": dataset.pk, "format": "trl", "split": "both", "project": "harbour"}

    assert as_stranger.post(reverse(f"rlhf:{kind}-export-create"), asked).status_code == 422
    assert as_labeler.post(reverse(f"rlhf:{kind}-export-create"), asked).status_code == 404
    assert Export.objects.count() == 0


def test_the_list_shows_the_managers_own_and_asks_as_often_for_three_as_for_one(
    as_manager, project, manager, other_project, django_assert_num_queries, django_assert_max_num_queries
):
    dataset = make_dataset(project)
    request_dataset_export(dataset, manager, format="trl", split="both")
    request_dataset_export(make_dataset(other_project), manager, format="hh", split="both")
    with django_assert_max_num_queries(20) as asked:
        page = as_manager.get(LIST, {"dataset": dataset.pk})
    assert ("<td>hh</td>" in page.content.decode(), "<td>trl</td>" in page.content.decode()) == (False, True)
    assert f'<option value="{dataset.pk}" selected>' in page.content.decode()
    for _ in range(2):
        request_judgment_export(project, manager, format="csv", with_notes=False)

    with django_assert_num_queries(len(asked)):
        as_manager.get(LIST, {"dataset": dataset.pk})
