"""The import commands as a person at a terminal meets them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labeling.models import Comparison, Import, ImportedJudgment, Project, Prompt

pytestmark = pytest.mark.django_db

# The odd rows of the real file: an answer that holds another turn, an answer that is empty.
TRANSCRIPTS = [
    ("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: b"),
    ("\n\nHuman: q\n\nAssistant: Human: c\n\nHuman: r\n\nAssistant: d", "\n\nHuman: q\n\nAssistant: e"),
    ("\n\nHuman: s\n\nAssistant: ", "\n\nHuman: s\n\nAssistant: f"),
]
REPORT = """\
pairs.jsonl.gz: 3 rows in the format hh
  2 prompts, 0 of them already in the project
  3 recorded votes on pairs of completions
  0 votes on a pair that came earlier in the file (kept as votes)
  0 pairs already in the project
  0 bad rows
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"chosen": chosen, "rejected": rejected} for chosen, rejected in TRANSCRIPTS]
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def run(command: str, file: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, str(file), project="hh", stdout=out, no_color=True, **options)
    return out.getvalue()


def test_a_dry_run_reports_and_writes_nothing(file: Path) -> None:
    assert run("import_preferences", file, dry_run=True) == REPORT + "dry run: nothing was written\n"
    assert (Project.objects.count(), Prompt.objects.count(), Import.objects.count()) == (0, 0, 0)


def test_an_import_makes_its_project_and_says_so_and_a_second_changes_nothing(file: Path) -> None:
    first = run("import_preferences", file)
    second = run("import_preferences", file)

    assert first == REPORT + (
        "made the project hh; superusers manage it until you add members\ncommitted to project hh as pairs: 3 votes\n"
    )
    imported = Import.objects.get()
    assert second == f"already imported as pairs on {imported.created_at:%Y-%m-%d}; nothing changed\n"
    assert (imported.state, imported.filename, imported.format) == ("committed", "pairs.jsonl.gz", "hh")
    pairs = {frozenset([row.completion_a.text, row.completion_b.text]) for row in Comparison.objects.with_texts()}
    assert pairs == {frozenset("ab"), frozenset(["Human: c\n\nHuman: r\n\nAssistant: d", "e"]), frozenset(["", "f"])}
    assert ImportedJudgment.objects.count() == 3


def test_bad_rows_are_listed_and_nothing_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(
        '{"prompt": "q", "chosen": "a", "rejected": "b"}\n{"prompt": "q", "chosen": "a"}\n{"prompt"\n', "utf-8"
    )
    out = io.StringIO()

    with pytest.raises(CommandError) as refused:
        call_command("import_preferences", str(file), project="hh", stdout=out)

    assert str(refused.value) == f"nothing was imported: correct the 2 bad rows of {file} and run the command again"
    assert out.getvalue().endswith(
        "  2 bad rows\n    line 2: the row lacks rejected\n    line 3: not JSON: Expecting ':' delimiter at column 10\n"
    )
    assert (Project.objects.count(), Prompt.objects.count(), Import.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"format": "argilla"}, "nothing was imported: correct the 3 bad rows"),
        ({"map": ["prompt=q", "colour=c"]}, "--map: unknown fields: colour; there are prompt, system, chosen"),
        ({"overlap": 101}, "--overlap must be from 0 to 100, got 101"),
        ({"format": "openai"}, "nothing was imported: correct the 3 bad rows"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_way_out(file: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        run("import_preferences", file, **options)


def test_a_project_name_that_no_address_can_hold_is_refused(file: Path) -> None:
    with pytest.raises(CommandError, match="must be letters, digits, - and _ only"):
        call_command("import_preferences", str(file), project="a b", stdout=io.StringIO())


def test_prompts_are_imported_alone(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"turns": ["a", "b"]}\n{"prompt": "c"}\n', "utf-8")

    assert run("import_prompts", file) == (
        "questions.jsonl: 2 rows in the format prompts\n"
        "  2 prompts, 0 of them already in the project\n"
        "  left out: 1 later turns\n"
        "  0 bad rows\n"
        "made the project hh; superusers manage it until you add members\n"
        "committed to project hh as questions: 2 prompts\n"
    )
    assert sorted(prompt.messages[0]["content"] for prompt in Prompt.objects.all()) == ["a", "c"]


def test_a_table_with_columns_of_its_own_is_imported_by_saying_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "table.tsv"
    file.write_text("Frage\tGut\tSchlecht\tArt\nq\ta\tb\tmaths\n", "utf-8")

    said = run("import_preferences", file, map=["prompt=Frage", "chosen=Gut", "rejected=Schlecht", "slice=Art"])

    assert said.endswith("committed to project hh as table: 1 votes\n")
    assert [str(prompt.slice) for prompt in Prompt.objects.select_related("slice")] == ["maths"]


def test_pairs_nobody_judged_are_queued_without_a_vote(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("q,one,two\nWhy?,a,b\n", "utf-8")

    said = run("import_preferences", file, map=["prompt=q", "chosen=one", "rejected=two"], unjudged=True, overlap=2)

    assert "  1 pairs of completions that nobody has judged\n" in said
    assert (ImportedJudgment.objects.count(), Comparison.objects.get().slots.count()) == (0, 2)
