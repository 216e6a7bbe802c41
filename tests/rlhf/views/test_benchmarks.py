from __future__ import annotations

import gzip
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labeling.domain.pairing import add_prompt
from labeling.models import AuditEvent
from rlhf.forms import benchmarks as forms
from rlhf.models import Dataset
from rlhf.views import benchmarks as views
from tests.rlhf.conftest import message

pytestmark = pytest.mark.django_db

PAGE = "/datasets/benchmarks/new/"
ROWS = [
    {"prompt": "How deep?", "chosen": "Ten metres.", "rejected": "Deep.", "subset": "chat"},
    {"prompt": "How wide?", "chosen": "A mile.", "rejected": "Wide.", "subset": "safety"},
]


def send(client: Client, rows: list[dict], *, name: str = "bench.jsonl", project: str = "harbour", **fields: str):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = SimpleUploadedFile(name, content)
    return client.post(PAGE, {"project": project, "file": file, "format": "auto", "name": ""} | fields)


def test_a_file_becomes_a_test_set_that_is_told_who_sent_it(as_manager, manager, project):
    assert "Import a test set" in as_manager.get("/datasets/").content.decode()
    assert as_manager.get(PAGE).status_code == 200

    answer = send(as_manager, ROWS)

    dataset = Dataset.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, dataset.get_absolute_url())
    assert (dataset.kind, dataset.name, dataset.n_train, dataset.n_test) == ("benchmark", "bench", 0, 2)
    assert dataset.counts["subsets"] == {"chat": 1, "safety": 1}
    assert dataset.created_by == manager
    assert AuditEvent.objects.get(verb="dataset.freeze").actor == manager


def test_prompts_that_models_may_have_seen_are_warned_of(as_manager, project):
    add_prompt(project, [message("How deep?")])

    answer = send(as_manager, ROWS)

    assert "1 of its prompts are in the project" in as_manager.get(answer["Location"]).content.decode()


def test_rows_that_cannot_be_read_are_told_and_nothing_is_stored(as_manager, project):
    answer = send(as_manager, [*ROWS, {"prompt": "How long?"}])

    assert answer.status_code == 422
    assert "nothing of bench.jsonl was imported: line 3" in answer.content.decode()
    assert not Dataset.objects.exists()


def test_a_file_too_large_to_wait_for_is_sent_to_the_command(as_manager, project, monkeypatch):
    for module in (forms, views):
        monkeypatch.setattr(module, "UPLOAD_BYTES", 100)

    answer = send(as_manager, ROWS)

    assert answer.status_code == 422
    assert "give a larger one to manage.py import_benchmark" in answer.content.decode()


def test_a_small_file_that_unpacks_into_a_large_one_is_refused(as_manager, project, monkeypatch):
    monkeypatch.setattr(views, "UNPACKED_BYTES", 1000)
    packed = SimpleUploadedFile("bench.jsonl.gz", gzip.compress(f"{json.dumps(ROWS[0])}\n".encode() * 50))

    answer = as_manager.post(PAGE, {"project": "harbour", "file": packed, "format": "auto", "name": ""})

    assert answer.status_code == 422
    assert "the file unpacks to more than 1,000 bytes" in answer.content.decode()
    assert not Dataset.objects.exists()


def test_only_managers_send_and_only_to_their_projects(as_manager, as_labeler, project):
    assert (as_labeler.get(PAGE).status_code, send(as_labeler, ROWS).status_code) == (404, 404)
    assert send(as_manager, ROWS, project="elsewhere").status_code == 422
    assert not Dataset.objects.exists()


def test_a_file_without_the_pages_token_is_refused(manager, project):
    client = Client(enforce_csrf_checks=True)
    client.force_login(manager)

    assert send(client, ROWS).status_code == 403
