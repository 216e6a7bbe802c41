from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import CommandError

from rlhf.domain.datasets.shelf import open_split
from rlhf.models import Dataset
from tests.rlhf.management.test_freeze import project, run

__all__ = ["project"]  # its fixture

pytestmark = pytest.mark.django_db


def test_export_freezes_first_and_writes_every_split(tmp_path: Path) -> None:
    said = run("export_preferences", format="trl", out=tmp_path / "out", source=["t"])

    dataset = Dataset.objects.get()
    assert f"  sha256 {dataset.sha256}\n" in said
    assert said.endswith(
        "".join(f"wrote {tmp_path}/out/{name}\n" for name in ("train.jsonl", "test.jsonl", "README.md"))
    )
    for split in ("train", "test"):
        lines = (tmp_path / "out" / f"{split}.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line) for line in lines] == list(open_split(dataset, split))


def test_export_takes_a_dataset_by_its_number(tmp_path: Path) -> None:
    run("freeze", source=["s"])
    dataset = Dataset.objects.get()

    run("export_preferences", format="kto", out=tmp_path / "out", dataset=dataset.pk)

    assert Dataset.objects.count() == 1
    assert len((tmp_path / "out" / "train.jsonl").read_text("utf-8").splitlines()) == 2 * dataset.n_train


def test_a_dataset_that_is_not_there_and_a_folder_that_is_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="project p has no dataset 99"):
        run("export_preferences", format="trl", out=tmp_path / "out", dataset=99)
    run("export_preferences", format="trl", out=tmp_path / "out")
    with pytest.raises(CommandError, match="exists already: choose a new folder"):
        run("export_preferences", format="trl", out=tmp_path / "out")
