"""A checked file in the database: whole, once, and beside what our own labelers say."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from labeling.domain.content import hash_text
from labeling.domain.intake.detection import PROMPTS
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.report import Report
from labeling.domain.intake.staging import CHUNK, StagedFile, chunks, count_known, read_items, stage_file
from labeling.domain.intake.storing import Placement, commit_file, find_import, name_source, store_pairs
from labeling.domain.intake.tags import N_SLICES
from labeling.models import Comparison, Completion, Demonstration, Import, ImportedJudgment, Project, Prompt, Slot

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="p", name="P")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def pair(number: int, **changes: Any) -> dict[str, Any]:
    return {"prompt": f"question {number // 2}", "chosen": f"good {number}", "rejected": f"bad {number}", **changes}


def stage(tmp_path: Path, rows: list[dict[str, Any]], name: str = "votes.jsonl") -> StagedFile:
    return stage_file(write(tmp_path / name, rows))


def votes(project: Project) -> list[tuple[int, int, str, str, int]]:
    """Return (line, part, winner, loser, strength) of every imported vote of a project."""
    found = []
    rows = ImportedJudgment.objects.filter(imported__project=project).order_by("imported__id", "line", "part")
    for vote in rows.select_related("comparison__completion_a", "comparison__completion_b"):
        texts = vote.comparison.completion_a.text, vote.comparison.completion_b.text
        winner, loser = texts if vote.verdict == "A" else texts[::-1]
        found.append((vote.line, vote.part, winner, loser, abs(vote.strength)))
    return found


def test_each_row_becomes_a_vote_on_a_comparison_that_does_not_tell_who_won(tmp_path: Path, project: Project) -> None:
    staged = stage(tmp_path, [pair(number) for number in range(40)])

    imported = commit_file(project, staged, source="s")

    assert (imported.state, imported.source, imported.n_rows, imported.format) == ("committed", "s", 40, "trl")
    assert votes(project) == [(number + 1, 0, f"good {number}", f"bad {number}", 2) for number in range(40)]
    assert {prompt.messages[0]["content"] for prompt in Prompt.objects.all()} == {f"question {n}" for n in range(20)}
    comparisons = Comparison.objects.with_texts()
    assert all(hash_text(row.completion_a.text) < hash_text(row.completion_b.text) for row in comparisons)
    assert {vote.verdict for vote in ImportedJudgment.objects.all()} == {"A", "B"}
    assert {(row.overlap, row.slots.count()) for row in comparisons} == {(0, 0)}


def test_a_tie_is_a_vote_for_neither(tmp_path: Path, project: Project) -> None:
    replies = [{"role": "assistant", "text": text, "rank": 0} for text in ("x", "y")]
    tree = {"role": "prompter", "text": "q", "replies": replies}
    row = {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": tree}

    commit_file(project, stage(tmp_path, [row]), source="s")

    assert list(ImportedJudgment.objects.values_list("verdict", "strength")) == [("tie", 0)]
    assert Prompt.objects.get().group == "t"


def test_overlap_lets_people_judge_the_imported_pairs_too(tmp_path: Path, project: Project) -> None:
    commit_file(project, stage(tmp_path, [pair(number) for number in range(3)]), source="s", overlap=2)

    assert (
        list(Slot.objects.order_by("comparison", "number").values_list("number", "state"))
        == [(0, "free"), (1, "free")] * 3
    )


def test_the_same_file_again_changes_nothing(tmp_path: Path, project: Project) -> None:
    rows = [pair(number) for number in range(5)]
    first = commit_file(project, stage(tmp_path, rows), source="s")

    again = stage(tmp_path, rows, "renamed.jsonl")
    count_known(project, again)

    assert find_import(project, again) == first
    assert commit_file(project, again, source="another") == first
    assert (again.report.n_known_pairs, again.report.n_known_prompts) == (5, 3)
    assert (Import.objects.count(), Comparison.objects.count(), ImportedJudgment.objects.count()) == (1, 5, 5)


def test_another_file_of_the_same_source_does_not_vote_twice_but_another_source_does(
    tmp_path: Path, project: Project
) -> None:
    commit_file(project, stage(tmp_path, [pair(number) for number in range(4)]), source="s")

    commit_file(project, stage(tmp_path, [pair(number) for number in range(2, 6)], "more.jsonl"), source="s")
    commit_file(project, stage(tmp_path, [pair(3)], "other.jsonl"), source="t")

    by_source = ImportedJudgment.objects.order_by("imported__id", "line").values_list("imported__source", "line")
    assert list(by_source) == [("s", 1), ("s", 2), ("s", 3), ("s", 4), ("s", 3), ("s", 4), ("t", 1)]
    assert Comparison.objects.count() == 6


def test_rows_that_repeat_a_pair_are_one_comparison_with_all_their_votes(tmp_path: Path, project: Project) -> None:
    staged = stage(tmp_path, [pair(0), pair(0), pair(0, chosen="bad 0", rejected="good 0")])

    commit_file(project, staged, source="s")

    assert staged.report.n_repeated_pairs == 2
    assert Comparison.objects.count() == 1
    assert [(line, winner) for line, _, winner, _, _ in votes(project)] == [(1, "good 0"), (2, "good 0"), (3, "bad 0")]


def test_the_report_counts_pairs_whose_completions_say_who_wrote_them(tmp_path: Path) -> None:
    telling = pair(1, chosen="As an AI language model, I cannot boil eggs.")

    report = stage(tmp_path, [pair(0), telling, pair(2, rejected="I am ChatGPT. Nine minutes.")]).report

    assert report.to_json()["n_telling"] == 2
    assert "  2 of the first 2,000 pairs say which model wrote them: nobody is asked about such" in report.to_lines()


@pytest.mark.parametrize(("blind", "overlaps"), [(True, [2, 0, 0]), (False, [2, 2, 2])])
def test_pairs_that_say_who_wrote_them_stay_out_of_the_queue_unless_they_are_wanted(
    tmp_path: Path, project: Project, blind: bool, overlaps: list[int]
) -> None:
    rows = [pair(0), pair(1, chosen="As an AI language model, I cannot boil eggs."), pair(2, rejected="I am ChatGPT.")]

    done = commit_file(project, stage(tmp_path, rows), source="s", overlap=2, blind=blind)

    assert [row.overlap for row in Comparison.objects.order_by("pk")] == overlaps
    assert [row.slots.count() for row in Comparison.objects.order_by("pk")] == overlaps
    assert done.options.get("n_kept_out", 0) == overlaps.count(0)
    assert done.judgments.count() == 3


def test_one_bad_row_and_nothing_is_stored(tmp_path: Path, project: Project) -> None:
    staged = stage(tmp_path, [pair(0), pair(1, chosen="nul\x00"), pair(2)])

    with pytest.raises(FileRefused, match="1 rows are bad, so nothing was imported"):
        commit_file(project, staged, source="s")

    assert staged.report.bad == [(2, "the better completion holds a NUL character at position 3: remove it")]
    assert (Import.objects.count(), Prompt.objects.count(), Comparison.objects.count()) == (0, 0, 0)


def test_bad_rows_beyond_the_first_fifty_are_counted(tmp_path: Path) -> None:
    staged = stage(tmp_path, [pair(number, chosen=number + 0.5) for number in range(60)] + [pair(0)], "bad.jsonl")

    lines = staged.report.to_lines()

    assert staged.report.n_bad == 60
    assert lines[-52:-49] == [
        "  60 bad rows",
        "    line 1: chosen must be a string, got float",
        "    line 2: chosen must be a string, got float",
    ]
    assert lines[-1] == "    and 10 more"


def test_more_names_than_there_are_slices_are_not_kept(tmp_path: Path) -> None:
    report = Report("trl")
    for number in range(10_000):
        report.add_slice(f"topic {number}", "")

    staged = stage(tmp_path, [pair(number, category=f"topic {number}") for number in range(300)])

    assert (len(report.slices), report.n_tagged) == (N_SLICES + 1, 10_000)
    assert staged.report.notes == {"slices: more than 200 names are no slices": 300}
    assert (staged.report.slices, staged.uses_tags) == (set(), False)
    assert {type(sha) for sha in [*staged.pair_shas, *staged.prompt_shas]} == {bytes}


def test_a_killed_import_goes_on_and_ends_like_one_that_was_not(tmp_path: Path, project: Project) -> None:
    rows = [pair(number) for number in range(2 * CHUNK + 200)]
    staged = stage(tmp_path, rows)
    whole = Project.objects.create(slug="whole", name="Whole")
    commit_file(whole, staged, source="s")
    # What a kill leaves after the second transaction.
    begun = Import.objects.create(
        project=project, source="s", filename="votes.jsonl", sha256=staged.sha256, format="trl", n_rows=len(rows)
    )
    first, second, _ = chunks(read_items(staged))
    for chunk in (first, second):
        store_pairs(begun, chunk, Placement())

    resumed = commit_file(project, stage(tmp_path, rows), source="s")

    assert resumed.pk == begun.pk
    assert resumed.state == Import.State.COMMITTED
    assert votes(project) == votes(whole)
    assert len(votes(project)) == 2 * CHUNK + 200
    assert Comparison.objects.filter(project=project).count() == Comparison.objects.filter(project=whole).count()


def test_a_begun_import_keeps_no_vote_from_another_file_and_repeats_none_when_it_ends(
    tmp_path: Path, project: Project
) -> None:
    staged = stage(tmp_path, [pair(0), pair(1)])
    begun = Import.objects.create(project=project, source="s", filename="f", sha256=staged.sha256, format="trl")
    store_pairs(begun, list(read_items(staged)), Placement())

    other = commit_file(project, stage(tmp_path, [pair(0), pair(2)], "other.jsonl"), source="s")
    commit_file(project, staged, source="s")

    by_import = ImportedJudgment.objects.order_by("imported", "line").values_list("imported", "line")
    assert list(by_import) == [(begun.pk, 2), (other.pk, 1), (other.pk, 2)]


def test_a_begun_import_is_not_finished_under_another_name(tmp_path: Path, project: Project) -> None:
    staged = stage(tmp_path, [pair(0)])
    Import.objects.create(project=project, source="s", filename="f", sha256=staged.sha256, format="trl")

    with pytest.raises(FileRefused, match="begun with --source s: finish it with the same source"):
        commit_file(project, staged, source="t")


@pytest.mark.parametrize("after", [[pair(0), pair(9)], [pair(0), {"prompt": 3}]])
def test_a_file_that_changes_between_check_and_import_is_not_committed(
    tmp_path: Path, project: Project, after: list[dict[str, Any]]
) -> None:
    staged = stage(tmp_path, [pair(0), pair(1)])
    write(staged.source.path, after)

    with pytest.raises(FileRefused, match="changed while it was read: run the import again"):
        commit_file(project, staged, source="s")

    assert [row.state for row in Import.objects.all()] == [Import.State.STAGED]


def test_demonstrations_are_stored_once_a_line(tmp_path: Path, project: Project) -> None:
    rows = [{"instruction": f"task {number % 2}", "output": f"done {number % 3}"} for number in range(7)]

    commit_file(project, stage(tmp_path, rows), source="s")

    stored = Demonstration.objects.order_by("line").values_list(
        "line", "completion__text", "completion__prompt__messages__0__content"
    )
    assert list(stored) == [(number + 1, f"done {number % 3}", f"task {number % 2}") for number in range(7)]
    assert (Prompt.objects.count(), Completion.objects.count(), Comparison.objects.count()) == (2, 6, 0)


def test_prompts_are_stored_without_completions(tmp_path: Path, project: Project) -> None:
    rows = [{"prompt": "a"}, {"turns": ["b", "c"]}, {"prompt": "a"}]

    commit_file(project, stage_file(write(tmp_path / "prompts.jsonl", rows), format=PROMPTS), source="s")

    assert sorted(prompt.messages[0]["content"] for prompt in Prompt.objects.all()) == ["a", "b"]
    assert Completion.objects.count() == 0


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(FileRefused):
        stage(tmp_path, [])
    with pytest.raises(FileRefused, match="has no rows"):
        stage_file(write(tmp_path / "empty.jsonl", []), format=PROMPTS)


def test_the_source_is_named_after_the_file() -> None:
    assert [name_source(Path(f"/x/{name}")) for name in ("hh.v2.jsonl.gz", "a.parquet", "b\udcff", "c.json")] == [
        "hh.v2",
        "a",
        "b?",
        "c",
    ]


def test_two_thousand_pairs_are_stored_in_no_quadratic_time(tmp_path: Path, project: Project) -> None:
    staged = stage(tmp_path, [pair(number) for number in range(2000)])
    started_s = time.perf_counter()

    commit_file(project, staged, source="s")

    assert time.perf_counter() - started_s < 120  # about 1 s on two idle cores
