"""Texts come out byte for byte as they went in, whatever is in them: from a stranger's file to each of our formats."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from django.core.management import call_command

from labeling.domain.people import add_member
from labeling.models import Project, User
from rlhf.domain.datasets.export import FORMATS, export_dataset
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.package import package_judgments
from rlhf.domain.datasets.rule import FreezeRule
from tests.labeling.domain.odd import FLOODS, ODD
from tests.labeling.rows import claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]

TEXTS = [*ODD, *FLOODS]


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose pairs came in as a file: each odd text is once a question and once the better answer to it."""
    rows = [
        {"prompt": say("user", text), "chosen": say("assistant", text), "rejected": say("assistant", f"not {number}")}
        for number, text in enumerate(TEXTS)
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8", newline="\n")
    call_command("import_preferences", path, project="p", overlap=1, not_blind=True, stdout=io.StringIO())
    return Project.objects.get()


def say(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def read_rows(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def list_turns(value: Any) -> set[str]:
    """Return every message in a row, however deep, and every text that is in none, as a turn of a transcript."""
    if isinstance(value, dict) and "role" in value:
        return {("Human: " if value["role"] == "user" else "Assistant: ") + value["content"]}
    if isinstance(value, (list, dict)):
        return set().union(*map(list_turns, value.values() if isinstance(value, dict) else value))
    return {value} if isinstance(value, str) else set()


def test_what_a_file_brought_is_in_every_format_as_it_was(project: Project, tmp_path: Path) -> None:
    dataset = freeze_preferences(project, rule=FreezeRule(include=("imported:odd",), test_share=0), name="odd")

    missing = {}
    for format in FORMATS:
        path, _card = export_dataset(dataset, format=format, path=tmp_path / format)
        wanted = {f"{speaker}: {text}" for speaker in ("Human", "Assistant") for text in TEXTS}
        if format == "hh":
            wanted = {f"\n\nHuman: {text}\n\nAssistant: {text}" for text in TEXTS}
        missing[format] = [text[:80] for text in wanted - list_turns(read_rows(path))]

    assert len(ODD) >= 40
    assert missing == {format: [] for format in FORMATS}


def test_what_people_judged_and_wrote_goes_out_as_it_was(project: Project) -> None:
    grace = User.objects.create_user("grace")
    add_member(project, grace, role="labeler")
    for _ in TEXTS:
        slot = claim(project, grace)
        text = slot.comparison.completion_a.text
        judge(slot, grace, note=text[:1000])

    file = io.BytesIO()
    package_judgments(project, format="judgments", with_notes=True, target=file)

    rows = [json.loads(line) for line in gzip.decompress(file.getvalue()).split(b"\n")[:-1]]
    assert sorted(row["prompt"][0]["content"] for row in rows) == sorted(TEXTS)
    assert {row["prompt"][0]["content"] for row in rows} <= {
        row[side] for row in rows for side in ("completion_a", "completion_b")
    }
    assert [row["note"] == row["completion_a"][:1000] for row in rows] == [True] * len(TEXTS)
