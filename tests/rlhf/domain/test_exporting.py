"""An export from its request to its end, and what its file holds."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import uuid
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from labeling.models import AuditEvent, Comparison, Guideline
from rlhf.domain import exporting
from rlhf.domain.datasets.bytes import read_stored
from rlhf.domain.datasets.checks import ExportRefused
from rlhf.domain.datasets.export import FORMATS, export_dataset
from rlhf.domain.datasets.judgments import name_labeler
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.exporting import (
    ExportGone,
    claim_export,
    open_export,
    request_dataset_export,
    request_judgment_export,
    sweep_exports,
    write_export,
)
from rlhf.models import Dataset, Export
from tests.rlhf.conftest import judge, make_comparison, make_dataset, message

pytestmark = [pytest.mark.django_db, pytest.mark.database]

HOSTILE = 'a,"b"\n\t\u2028 ü ‮ \U0001f600 </script> =1+1'
FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(1)", "＝1", "=cmd|' /C calc'!A0"]


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return tmp_path / "files"


def freeze(project: Any, *, n_test: int = 2, rule: dict[str, Any] | None = None) -> Dataset:
    rows = [
        {
            "prompt": [message(f"q{n} {HOSTILE}")],
            "chosen": [message(f"yes {n}", "assistant")],
            "rejected": [message("no", "assistant")],
            "margin": 1 / 3,
            "group": f"g{n}",
            "source": "own",
        }
        for n in range(5)
    ]
    train = rows[:-n_test] if n_test else rows
    return freeze_rows(project, kind="preference", name="Pairs!", train=train, test=rows[len(train) :], rule=rule or {})


def write(export: Export) -> tuple[Export, bytes]:
    """Let the worker write an export, and return it with its bytes."""
    write_export(export.pk)
    export.refresh_from_db()
    assert export.state == "ready", export.cause
    return export, default_storage.open(export.file).read()


def lines_of(packed: bytes) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


def test_one_split_is_the_datasets_own_bytes_packed(project, manager):
    dataset = freeze(project)

    export, content = write(request_dataset_export(dataset, manager, format="trl", split="train"))

    assert gzip.decompress(content) == b"".join(read_stored(dataset.file_name("train"), dataset.train_sha256))
    assert (export.filename, export.n_rows) == ("pairs-trl-train.jsonl.gz", 3)
    assert (export.size, export.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert export.expires_at - export.finished_at == pytest.approx(timedelta(days=7), abs=timedelta(seconds=5))


@pytest.mark.parametrize("format", list(FORMATS))
def test_both_splits_are_a_zip_of_what_the_command_writes(project, manager, tmp_path, format):
    dataset = freeze(project)
    paths = export_dataset(dataset, format=format, path=tmp_path / "out")

    export, content = write(request_dataset_export(dataset, manager, format=format, split="both"))

    archive = zipfile.ZipFile(io.BytesIO(content))
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    if format == "parquet":
        assert archive.namelist() == ["train.parquet", "test.parquet", "README.md"]
        for name, path in zip(archive.namelist(), paths, strict=False):
            if name != "README.md":
                table = pyarrow.parquet.read_table(io.BytesIO(archive.read(name)))
                assert table.equals(pyarrow.parquet.read_table(path))
    else:
        assert archive.namelist() == ["train.jsonl.gz", "test.jsonl.gz", "README.md"]
        unpacked = [gzip.decompress(archive.read(name)) for name in archive.namelist()[:2]]
        assert unpacked == [path.read_bytes() for path in paths[:2]]
    assert f'"path": "{archive.namelist()[0]}"' in archive.read("README.md").decode()
    assert export.n_rows == (10 if format == "kto" else 5)


def test_equal_datasets_make_equal_bytes(project, manager):
    dataset = freeze(project)

    first, again = (
        write(request_dataset_export(dataset, manager, format="trl", split="both"))[0].sha256 for _ in range(2)
    )

    assert first == again


def test_a_format_without_rows_for_the_dataset_is_refused_when_asked_for(project, manager):
    dataset = make_dataset(project, kind="demonstration")

    with pytest.raises(ExportRefused, match="use trl or sft or parquet"):
        request_dataset_export(dataset, manager, format="kto", split="both")

    assert Export.objects.count() == 0


def test_a_row_that_is_none_of_its_format_fails_the_export_with_the_reason(project, manager, storage):
    rows = [{"prompt": [message("q")], "chosen": [message("yes")], "rejected": [message("no", "assistant")]}]
    dataset = freeze_rows(project, kind="preference", name="odd", train=rows, test=[], rule={})
    export = request_dataset_export(dataset, manager, format="trl", split="train")

    write_export(export.pk)

    export.refresh_from_db()
    assert (export.state, export.file) == ("failed", "")
    assert export.cause == "row 1 is no trl row: chosen is missing or not what it should be"
    assert not (storage / "exports").exists()


def test_damaged_bytes_fail_the_export(project, manager, storage):
    dataset = freeze(project)
    export = request_dataset_export(dataset, manager, format="trl", split="train")
    stored = storage / dataset.file_name("train")
    stored.write_bytes(stored.read_bytes().replace(b"yes 1", b"yes 7"))

    write_export(export.pk)

    export.refresh_from_db()
    assert export.state == "failed"
    assert "does not match its hash any more" in export.cause


def test_judgments_go_out_as_they_were_made_under_pseudonyms(project, manager, labeler):
    comparison = make_comparison(project)
    Comparison.objects.update(reason="active", propensity=0.25)
    guideline = Guideline.objects.create(project=project, version=3, text="Be kind.")
    lease = uuid.uuid4()
    first = judge(
        comparison,
        labeler,
        guideline=guideline,
        reasons=["correct"],
        axes={"tone": -1},
        active_ms=2500,
        note="I, leo",
        lease_token=lease,
    )
    second = judge(comparison, labeler, revises=first, verdict="B", strength=3, unsafe_a=True)

    export, content = write(request_judgment_export(project, manager, format="judgments", with_notes=False))

    rows = lines_of(content)
    assert rows[0] == {
        "judgment": first.pk,
        "comparison": comparison.pk,
        "labeler": name_labeler(project, labeler.pk),
        "prompt": comparison.prompt.messages,
        "completion_a": "deep",
        "completion_b": "flat",
        "verdict": "A",
        "strength": -2,
        "scale": "quick",
        "both_bad": False,
        "unsafe_a": False,
        "unsafe_b": False,
        "axes": {"tone": -1},
        "reasons": ["correct"],
        "fix": None,
        "a_shown_left": True,
        "lease": str(lease),
        "guideline": 3,
        "reason": "random",
        "propensity": 1.0,
        "is_conditional": False,
        "is_extra": True,
        "is_hasty": False,
        "revises": None,
        "is_current": False,
        "shown_at": first.shown_at.isoformat(),
        "submitted_at": first.submitted_at.isoformat(),
        "active_s": 2.5,
        "group": comparison.prompt.group,
        "slice": "",
        "language": "",
        "proposed": "active",
        "proposed_propensity": 0.25,
    }
    assert [(row["judgment"], row["revises"], row["is_current"]) for row in rows] == [
        (first.pk, None, False),
        (second.pk, first.pk, True),
    ]
    assert (export.n_rows, export.filename) == (2, "harbour-judgments.jsonl.gz")


def test_notes_are_written_only_when_asked_for(project, manager, labeler):
    judge(make_comparison(project), labeler, note="I, leo, prefer it")

    _, content = write(request_judgment_export(project, manager, format="judgments", with_notes=True))

    assert lines_of(content)[0]["note"] == "I, leo, prefer it"


def test_a_pseudonym_is_stable_in_its_project_and_tells_nothing_in_another(project, other_project, labeler):
    assert name_labeler(project, labeler.pk) == name_labeler(project, labeler.pk)
    assert name_labeler(project, labeler.pk) != name_labeler(other_project, labeler.pk)


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_spreadsheet_finds_no_formula_and_json_lines_keep_every_byte(project, manager, labeler, formula):
    judge(make_comparison(project), labeler, note=formula)

    table, exact = (
        write(request_judgment_export(project, manager, format=format, with_notes=True))
        for format in ("csv", "judgments")
    )

    (row,) = csv.DictReader(io.StringIO(table[1].decode(), newline=""))
    assert (row["note"][0], row["note"].replace("'", "")) == ("'", formula.replace("'", ""))
    assert (row["strength"], table[0].filename) == ("-2", "harbour-judgments-lossy.csv")
    assert lines_of(exact[1])[0]["note"] == formula


def test_no_export_names_a_labeler(project, manager, labeler):
    """T69: first make what could leak, then look for it everywhere."""
    for user, first, last in ((labeler, "Leonora", "Lichtermann"), (manager, "Miriam", "Mastbaum")):
        user.first_name, user.last_name, user.email = first, last, f"{first}@secret.example".lower()
        user.save()
    judge(make_comparison(project), labeler, note="yours, Leonora Lichtermann")
    dataset = freeze(project, rule={"exclude_labelers": ["leo", "7"], "note": "ask Miriam", "seed": 42})
    secrets = ["leo", "mia", "leonora", "lichtermann", "miriam", "mastbaum", "secret.example", "lighthouse"]

    exports = [request_dataset_export(dataset, manager, format=format, split="both") for format in FORMATS]
    exports += [
        request_judgment_export(project, manager, format=name, with_notes=False) for name in ("judgments", "csv")
    ]

    for export in exports:
        written, content = write(export)
        text = unpack(content).decode("utf-8", "replace").lower()
        assert "deep" in text or "yes 1" in text or written.format == "parquet"
        assert [secret for secret in secrets if secret in text] == []
        assert written.dataset is None or '"exclude_labelers": 2' in text


def unpack(content: bytes) -> bytes:
    """Return everything a file holds as plain bytes."""
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:4] == b"PK\x03\x04":
        archive = zipfile.ZipFile(io.BytesIO(content))
        return b"\n".join(unpack(archive.read(name)) for name in archive.namelist())
    if content[:4] == b"PAR1":
        return repr(pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()).encode()
    return content


def test_only_the_first_of_two_workers_writes(project, manager):
    export = request_dataset_export(freeze(project), manager, format="trl", split="train")

    first, second = claim_export(export.pk), claim_export(export.pk)

    assert (first.state, first.attempt, second) == ("running", 1, None)


def test_what_a_killed_worker_left_is_written_by_the_next(project, manager):
    export = request_dataset_export(freeze(project), manager, format="trl", split="train")
    claim_export(export.pk)
    Export.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    export, _ = write(export)

    assert (export.state, export.attempt) == ("ready", 2)


def test_a_worker_that_slept_past_its_lease_changes_nothing_and_leaves_no_file(project, manager, monkeypatch, storage):
    export = request_dataset_export(freeze(project), manager, format="trl", split="train")
    package = exporting.package

    def sleep_and_package(*arguments: Any) -> str:
        name = package(*arguments)
        Export.objects.update(attempt=2)
        return name

    monkeypatch.setattr(exporting, "package", sleep_and_package)
    write_export(export.pk)

    export.refresh_from_db()
    assert (export.state, export.attempt, export.file) == ("running", 2, "")
    assert list((storage / "exports").iterdir()) == []


def test_the_sweeper_rings_for_what_waits_and_gives_up_what_kills_its_workers(project, manager, monkeypatch):
    waiting, poison = (
        request_dataset_export(freeze(project), manager, format="trl", split=split) for split in ("train", "test")
    )
    Export.objects.filter(pk=poison.pk).update(
        state="running", attempt=3, lease_until=timezone.now() - timedelta(seconds=1)
    )
    rung: list[int] = []
    monkeypatch.setattr("rlhf.domain.exporting.send_message", lambda task, pk, expires_s: rung.append(pk))

    sweep_exports()

    poison.refresh_from_db()
    assert rung == [waiting.pk]
    assert (poison.state, poison.cause) == ("failed", "its worker vanished 3 times; see the worker's log")


def test_after_a_week_the_file_is_gone_and_the_row_says_so(project, manager, storage):
    export, _ = write(request_dataset_export(freeze(project), manager, format="trl", split="train"))
    Export.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    export.refresh_from_db()
    with pytest.raises(ExportGone, match="kept for 7 days and is gone: ask for it again"):
        open_export(export, manager)

    sweep_exports()

    export.refresh_from_db()
    assert (export.state, export.file) == ("expired", "")
    assert list((storage / "exports").iterdir()) == []
    with pytest.raises(ExportGone):
        open_export(export, manager)


def test_request_and_download_are_in_the_audit_trail(project, manager):
    dataset = freeze(project)
    export, _ = write(request_dataset_export(dataset, manager, format="kto", split="both"))

    open_export(export, manager).close()

    events = AuditEvent.objects.filter(project=project, verb__startswith="export.").order_by("id")
    assert [(event.verb, event.actor, event.subject, event.after) for event in events] == [
        ("export.request", manager, str(export), {"format": "kto", "dataset": dataset.pk, "split": "both"}),
        ("export.download", manager, str(export), {"sha256": export.sha256}),
    ]
