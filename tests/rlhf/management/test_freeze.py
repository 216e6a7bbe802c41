"""Freezing and exporting at the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labeling.domain.intake.staging import stage_file
from labeling.domain.intake.storing import commit_file
from labeling.models import Project, User
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.models import Dataset

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def project(settings: Any, tmp_path: Path) -> Project:
    """A project with votes of two sources and a demonstration."""
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    project = Project.objects.create(slug="p", name="P")
    for source, numbers in (("s", range(12)), ("t", range(12, 16))):
        path = tmp_path / f"{source}.jsonl"
        rows = [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in numbers]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        commit_file(project, stage_file(path), source=source)
    path = tmp_path / "alpaca.jsonl"
    path.write_text('{"instruction": "i", "output": "o"}\n', "utf-8")
    commit_file(project, stage_file(path), source="u")
    return project


def run(command: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, project="p", stdout=out, **options)
    return out.getvalue()


def test_freeze_prints_what_a_person_needs_to_trust_the_dataset() -> None:
    said = run("freeze", source=["s"], name="twelve", test_share=0.25)

    dataset = Dataset.objects.get()
    rule = FreezeRule(include=("imported:s",), test_share=0.25)
    assert said == (
        f"dataset {dataset.pk}: twelve\n"
        f"  sha256 {dataset.sha256}\n"
        f"  {dataset.n_train} train rows, {dataset.n_test} test rows\n"
        f"  rule   {json.dumps(rule.to_json(), sort_keys=True)}\n"
        f"  counts {json.dumps(dataset.counts, sort_keys=True)}\n"
    )
    assert dataset.n_train + dataset.n_test == dataset.counts["pairs"] == 12
    assert dataset.counts["votes"] == {"imported:s": 12}


def test_every_part_of_the_rule_can_be_said_at_the_terminal() -> None:
    User.objects.create(username="mallory")
    flags = ["soft", "without_hasty", "without_late", "without_fixes", "quarantined", "gold", "margin"]
    values = {"consensus": "dawid_skene", "exclude_labeler": ["mallory"], "labeler_share_max": 0.5, "guideline_from": 2}

    run("freeze", source=["s"], **values, **dict.fromkeys(flags, True))

    assert FreezeRule.from_json(Dataset.objects.get().rule) == FreezeRule(
        include=("imported:s",),
        consensus="dawid_skene",
        soft=True,
        use_extra=False,
        use_hasty=False,
        use_quarantined=True,
        use_gold=True,
        use_fixes=False,
        use_margin=True,
        exclude_labelers=("mallory",),
        guideline_from=2,
        labeler_share_max=0.5,
    )


def test_freeze_takes_all_imported_votes_when_nobody_judged_here() -> None:
    run("freeze")

    assert Dataset.objects.get().counts["votes"] == {"imported:s": 12, "imported:t": 4}


def test_freeze_makes_demonstrations_when_asked() -> None:
    run("freeze", kind="demonstration")

    dataset = Dataset.objects.get()
    assert (dataset.kind, dataset.name, dataset.n_train, dataset.n_test) == ("demonstration", "p demonstrations", 1, 0)


def test_an_unknown_project_or_rule_is_answered_with_what_there_is() -> None:
    with pytest.raises(CommandError, match="there is no project 'q'; the projects are: p"):
        call_command("freeze", project="q")
    with pytest.raises(CommandError, match="P has no judgments"):
        run("freeze", source=["nobody"])
    with pytest.raises(CommandError, match="test_share must be at least 0 and under 1"):
        run("freeze", test_share=1.5)
