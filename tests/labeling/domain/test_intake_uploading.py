"""A file that came through the browser, from upload to import: the domain, called as the worker calls it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from labeling.domain.intake import checking, committing, shutting
from labeling.domain.intake.checking import check_import
from labeling.domain.intake.committing import NotImportable, commit_import, request_commit
from labeling.domain.intake.holding import hold, sweep_imports
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.shutting import open_some
from labeling.domain.intake.storing import Placement
from labeling.domain.intake.uploading import TooLate, discard_import, map_columns, store_upload
from labeling.models import AuditEvent, Comparison, Import, ImportedJudgment, Project, Prompt, Slot, User

pytestmark = [pytest.mark.django_db, pytest.mark.database]

CSV = (
    "Frage,Gut,Schlecht,Thema\n"
    '"What colour, please?","Blue, on a\nclear day.","The ""sky"".",colours\n'
    "How deep?,Very.,Not,\n"
)
COLUMNS = {"prompt": "Frage", "chosen": "Gut", "rejected": "Schlecht", "slice": "Thema"}


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return tmp_path / "files"


def upload(project: Project, user: User, content: str | bytes, name: str = "pairs.jsonl", **options: str) -> Import:
    """Upload a file and have it checked; return the row as it then is."""
    data = content.encode() if isinstance(content, str) else content
    imported = store_upload(project, user, ContentFile(data, name), **options)
    check_import(imported.pk)
    imported.refresh_from_db()
    return imported


def import_file(imported: Import, user: User, **placement: Any) -> Import:
    request_commit(imported, user, Placement(**placement))
    commit_import(imported.pk)
    imported.refresh_from_db()
    return imported


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def pair(number: int, **changes: Any) -> dict[str, Any]:
    return {"prompt": f"question {number}", "chosen": f"good {number}", "rejected": f"bad {number}", **changes}


def stored_files(storage: Path) -> list[str]:
    return sorted(path.relative_to(storage).as_posix() for path in storage.rglob("*") if path.is_file())


def test_an_upload_is_checked_and_waits_for_a_word_and_stores_nothing_before(kitchen, ada, storage):
    imported = upload(kitchen, ada, lines(pair(1), pair(2), pair(2)), source="friends")

    assert (imported.state, imported.format, imported.n_rows, imported.owner) == ("checked", "trl", 3, ada)
    assert (imported.filename, imported.source) == ("pairs.jsonl", "friends")
    counts = {name: value for name, value in imported.report.items() if name.startswith("n_") and value}
    assert counts == {"n_rows": 3, "n_pairs": 3, "n_prompts": 2, "n_repeated_pairs": 1}
    assert [row["texts"] for row in imported.report["sample"]] == [["good 1", "bad 1"], *[["good 2", "bad 2"]] * 2]
    assert (Prompt.objects.count(), ImportedJudgment.objects.count()) == (0, 0)
    assert [name.startswith("imports/") and len(name) == 81 for name in stored_files(storage)] == [True]


def test_an_import_queues_its_pairs_counts_its_votes_and_leaves_no_file(kitchen, ada, storage):
    imported = upload(kitchen, ada, lines(pair(1, category="maths", lang="en"), pair(2)))

    import_file(imported, ada, overlap=2, priority=7, slice_name="chat")

    assert (imported.state, imported.file, stored_files(storage)) == ("committed", "", [])
    assert ImportedJudgment.objects.filter(imported=imported).count() == 2
    slots = Slot.objects.order_by("comparison", "number").values_list("number", "priority")
    assert list(slots) == [(0, 7), (1, 7)] * 2
    slices = {str(prompt.slice) for prompt in Prompt.objects.select_related("slice")}
    assert slices == {"maths (en)", "chat"}
    events = AuditEvent.objects.filter(project=kitchen, verb__startswith="import.").order_by("id")
    assert [event.verb for event in events] == ["import.upload", "import.commit", "import.store"]
    assert {event.actor for event in events} == {ada}
    assert events[1].after == {"overlap": 2, "blind": True, "priority": 7, "slice_name": "chat", "language": ""}


def test_a_file_with_a_bad_row_cannot_be_imported_and_every_bad_row_is_kept(kitchen, ada):
    rows = [pair(1), *[{"prompt": "q", "chosen": "a"}] * 60, pair(2)]

    imported = upload(kitchen, ada, lines(*rows))

    assert (imported.state, imported.report["n_bad"]) == ("refused", 60)
    assert imported.report["bad"] == [[number, "the row lacks rejected"] for number in range(2, 52)]
    kept = default_storage.open(imported.report["bad_file"]).read().decode()
    assert kept == "".join(f"{number}: the row lacks rejected\n" for number in range(2, 62))
    with pytest.raises(NotImportable, match="has no bad row"):
        request_commit(imported, ada, Placement())


def test_the_same_file_again_says_so_and_names_the_first(kitchen, ada):
    first = import_file(upload(kitchen, ada, lines(pair(1))), ada)

    again = upload(kitchen, ada, gzip.compress(lines(pair(1)).encode()), "other-name.gz")

    assert (again.state, again.report["cause"]) == ("refused", "This very file has been imported before.")
    assert again.report["same_as"] == first.pk


def test_one_of_two_uploads_of_a_file_that_both_wait_is_imported(kitchen, ada):
    first, second = upload(kitchen, ada, lines(pair(1))), upload(kitchen, ada, lines(pair(1)))
    request_commit(first, ada, Placement())

    with pytest.raises(NotImportable, match="imported before"):
        request_commit(second, ada, Placement())

    assert AuditEvent.objects.filter(verb="import.commit").count() == 1


def test_thrown_away_means_row_file_and_list_of_bad_rows(kitchen, ada, storage, django_capture_on_commit_callbacks):
    imported = upload(kitchen, ada, lines(pair(1), {"prompt": 1}))
    assert len(stored_files(storage)) == 2

    with django_capture_on_commit_callbacks(execute=True):
        discard_import(imported, ada)

    assert (Import.objects.count(), stored_files(storage)) == (0, [])
    assert AuditEvent.objects.get(verb="import.discard").subject == f"import {imported.pk}: pairs.jsonl"


def test_what_is_being_imported_is_not_thrown_away(kitchen, ada):
    imported = upload(kitchen, ada, lines(pair(1)))
    request_commit(imported, ada, Placement())

    with pytest.raises(TooLate, match="is being imported"):
        discard_import(imported, ada)


def test_unknown_columns_wait_for_a_mapping_and_show_their_first_values(kitchen, ada):
    imported = upload(kitchen, ada, CSV, "pairs.csv")

    assert (imported.state, imported.format) == ("checked", "")
    assert imported.report == {
        "columns": [
            ["Frage", ["What colour, please?", "How deep?"]],
            ["Gut", ["Blue, on a\nclear day.", "Very."]],
            ["Schlecht", ['The "sky".', "Not"]],
            ["Thema", ["colours"]],
        ]
    }
    with pytest.raises(NotImportable):
        request_commit(imported, ada, Placement())


def test_a_row_with_thousands_of_problems_is_one_bad_row_of_a_file_that_is_checked_to_its_end(kitchen, ada, storage):
    doubled = ",".join(f'{{"k{n}": 1, "k{n}": 2}}' for n in range(2000))
    bad = [f'{{"prompt": "x", "x": [{many}]}}\n' for many in (",".join(["NaN"] * 3000), doubled)]

    imported = upload(kitchen, ada, lines(pair(1)) + "".join(bad))

    assert (imported.state, imported.report["n_bad"]) == ("refused", 2)
    assert [reason for _, reason in imported.report["bad"]] == [
        "NaN is not JSON; use null or leave it out",
        "; ".join(f"the key 'k{n}' comes twice in one object" for n in range(3)) + "; and 1997 more",
    ]


def test_a_mapped_file_is_checked_anew_and_the_next_one_with_its_columns_is_read_alike(kitchen, ada):
    imported = upload(kitchen, ada, CSV, "pairs.csv")

    map_columns(imported, Mapping(COLUMNS))
    check_import(imported.pk)
    following = upload(kitchen, ada, CSV + "More?,Yes.,No.,\n", "more.csv")

    imported.refresh_from_db()
    assert (imported.state, imported.format) == (following.state, following.format)
    assert (following.state, following.report["n_pairs"], following.report["slices"]) == ("checked", 3, ["colours"])
    assert following.mapping == Mapping(COLUMNS).to_json()
    import_file(following, ada)
    texts = {(row.completion_a.text, row.completion_b.text) for row in Comparison.objects.with_texts()}
    assert {frozenset(sides) for sides in texts} == {
        frozenset(["Blue, on a\nclear day.", 'The "sky".']),
        frozenset(["Very.", "Not"]),
        frozenset(["Yes.", "No."]),
    }


def test_pairs_that_nobody_judged_enter_without_a_vote(kitchen, ada):
    imported = upload(kitchen, ada, "q,one,two\nWhy?,a,b\n", "open.csv")
    map_columns(imported, Mapping({"prompt": "q", "chosen": "one", "rejected": "two"}, is_unjudged=True))
    check_import(imported.pk)
    imported.refresh_from_db()

    import_file(imported, ada, overlap=1)

    assert (imported.report["n_unjudged"], imported.report["n_pairs"]) == (1, 0)
    assert (Comparison.objects.count(), Slot.objects.count(), ImportedJudgment.objects.count()) == (1, 1, 0)


def test_a_mapping_that_came_while_a_worker_read_is_what_counts(kitchen, ada, monkeypatch):
    imported = upload(kitchen, ada, CSV, "pairs.csv")
    map_columns(imported, Mapping({"prompt": "Frage"}))
    stale = Import.objects.get(pk=imported.pk)
    map_columns(imported, Mapping(COLUMNS))
    checking.end_check(stale, Import.State.CHECKED, {"n_rows": 99})

    imported.refresh_from_db()
    assert (imported.state, imported.mapping["columns"]) == ("uploaded", COLUMNS)


def test_while_one_worker_holds_an_import_another_leaves_it(kitchen, ada):
    imported = store_upload(kitchen, ada, ContentFile(lines(pair(1)).encode(), "f"))

    with hold(imported.pk):
        check_import(imported.pk)
        imported.refresh_from_db()
        assert imported.state == "uploaded"
    check_import(imported.pk)

    imported.refresh_from_db()
    assert imported.state == "checked"


def test_the_sweeper_rings_for_what_nobody_works_on(kitchen, ada, monkeypatch):
    waiting = store_upload(kitchen, ada, ContentFile(lines(pair(1)).encode(), "f"))
    held = store_upload(kitchen, ada, ContentFile(lines(pair(2)).encode(), "f"))
    begun = upload(kitchen, ada, lines(pair(3)))
    request_commit(begun, ada, Placement())
    Import.objects.create(project=kitchen, source="s", filename="of the command", state="staged")
    rung: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "labeling.domain.intake.holding.send_message", lambda task, pk, expires_s: rung.append((task, pk))
    )

    with hold(held.pk):
        sweep_imports()

    assert sorted(rung) == [("labeling.check_import", waiting.pk), ("labeling.commit_import", begun.pk)]


def test_a_file_over_which_workers_die_is_given_up(kitchen, ada, monkeypatch):
    imported = store_upload(kitchen, ada, ContentFile(lines(pair(1)).encode(), "f"))

    def die(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("labeling.domain.intake.checking.stage_file", die)
    for _ in range(4):
        with pytest.raises(MemoryError):
            check_import(imported.pk)
    check_import(imported.pk)

    imported.refresh_from_db()
    assert imported.state == "refused"
    assert imported.report["cause"] == "A worker died 4 times over this file; see the worker's log."


def test_a_commit_that_was_killed_goes_on_where_it_was(kitchen, ada, monkeypatch):
    imported = upload(kitchen, ada, lines(*[pair(number) for number in range(1200)]))
    request_commit(imported, ada, Placement())
    store_pairs, died = committing.store_file.__globals__["store_pairs"], []

    def die_once(imported: Import, chunk: list[Any], placement: Placement) -> None:
        if chunk[-1].line > 700 and not died:
            died.append(chunk[0].line)
            raise KeyboardInterrupt
        store_pairs(imported, chunk, placement)

    monkeypatch.setitem(committing.store_file.__globals__, "store_pairs", die_once)
    with pytest.raises(KeyboardInterrupt):
        commit_import(imported.pk)
    assert 0 < ImportedJudgment.objects.count() == died[0] - 1

    commit_import(imported.pk)

    imported.refresh_from_db()
    assert imported.state == "committed"
    assert sorted(ImportedJudgment.objects.values_list("line", flat=True)) == list(range(1, 1201))


def test_a_stored_file_that_changed_or_went_is_refused(kitchen, ada, storage):
    changed, gone = (upload(kitchen, ada, lines(pair(number))) for number in (1, 2))
    request_commit(changed, ada, Placement())
    (storage / changed.file).write_text(lines(pair(3)), "utf-8")
    default_storage.delete(gone.file)
    Import.objects.filter(pk=gone.pk).update(state="uploaded", report={})

    commit_import(changed.pk)
    check_import(gone.pk)

    changed.refresh_from_db()
    gone.refresh_from_db()
    assert (changed.state, gone.state) == ("refused", "refused")
    assert "changed while it was read" in changed.report["cause"]
    assert gone.report["cause"] == "The uploaded file is gone from the storage: upload it again."
    assert ImportedJudgment.objects.filter(imported__state="committed").count() == 0


def half_store(imported: Import, user: User, storage: Path, *rows: dict[str, Any], **placement: Any) -> None:
    """Have an import refused after its first transaction: its last row is no longer the one that was checked."""
    request_commit(imported, user, Placement(**placement))
    (storage / imported.file).write_text(lines(*rows, {"prompt": 3}), "utf-8")
    commit_import(imported.pk)
    imported.refresh_from_db()
    assert imported.state == "refused"


def test_a_refused_half_of_an_import_is_in_nobodys_way(kitchen, ada, storage):
    rows = [pair(number) for number in range(600)]
    half_store(upload(kitchen, ada, lines(*rows), source="s"), ada, storage, *rows[:599])

    again = import_file(upload(kitchen, ada, lines(*rows), source="s"), ada)

    assert (again.state, again.judgments.count(), ImportedJudgment.objects.count()) == ("committed", 600, 600)


def test_what_an_import_brought_is_in_the_queue_once_it_is_committed_and_not_before(kitchen, ada, monkeypatch):
    imported = upload(kitchen, ada, lines(*[pair(number) for number in range(600)]))
    request_commit(imported, ada, Placement(overlap=2))
    rest = committing.store_file.__globals__["store_prompts"]
    monkeypatch.setitem(
        committing.store_file.__globals__, "store_prompts", lambda _, chunk, __: 1 / (600 - chunk[-1].line)
    )

    with pytest.raises(ZeroDivisionError):
        commit_import(imported.pk)
    half = list(Slot.objects.values_list("state", flat=True))
    monkeypatch.setitem(committing.store_file.__globals__, "store_prompts", rest)
    commit_import(imported.pk)

    imported.refresh_from_db()
    assert set(half) == {"shut"}
    assert list(Slot.objects.values_list("state", flat=True)) == ["free"] * 1200
    assert "new_comparisons" not in imported.options


def test_what_an_import_killed_at_its_end_left_shut_is_opened_by_the_sweeper(kitchen, ada, monkeypatch):
    imported = upload(kitchen, ada, lines(*[pair(number) for number in range(60)]))
    request_commit(imported, ada, Placement(overlap=2))
    opened: list[int] = []

    def die_in_the_second(half: Import, _: int) -> bool:
        if opened:
            raise KeyboardInterrupt
        opened.append(half.pk)
        return open_some(half, 25)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutting, "open_some", die_in_the_second)
        commit_import(imported.pk)
    imported.refresh_from_db()
    assert (imported.state, Slot.objects.free().count()) == ("committed", 50)

    sweep_imports()

    imported.refresh_from_db()
    assert Slot.objects.free().count() == 120
    assert "new_comparisons" not in imported.options


def test_a_refused_half_leaves_nothing_to_judge_and_the_next_upload_is_queued_whole(kitchen, ada, storage):
    rows = [pair(number) for number in range(600)]
    half_store(upload(kitchen, ada, lines(*rows)), ada, storage, *rows[:599], overlap=1)
    assert (Comparison.objects.count(), Slot.objects.count()) == (0, 0)

    import_file(upload(kitchen, ada, lines(*rows)), ada, overlap=1)

    assert list(Slot.objects.values_list("state", flat=True)) == ["free"] * 600


def test_votes_that_the_source_has_cast_before_are_counted_as_left_out(kitchen, ada):
    import_file(upload(kitchen, ada, lines(pair(1), pair(2)), source="s"), ada)

    more = import_file(upload(kitchen, ada, lines(pair(2), pair(3)), source="s"), ada)

    assert (more.judgments.count(), more.report["n_left_out"]) == (1, 1)


def test_a_half_stored_import_that_is_mapped_anew_starts_anew(kitchen, ada, storage):
    rows = [{"q": f"q{number}", "x": "good", "y": "bad"} for number in range(600)]
    imported = upload(kitchen, ada, lines(*rows))
    map_columns(imported, Mapping({"prompt": "q", "chosen": "x", "rejected": "y"}))
    check_import(imported.pk)
    imported.refresh_from_db()
    half_store(imported, ada, storage, *rows[:599])
    (storage / imported.file).write_text(lines(*rows), "utf-8")

    map_columns(imported, Mapping({"prompt": "q", "chosen": "y", "rejected": "x"}))
    check_import(imported.pk)
    imported.refresh_from_db()
    import_file(imported, ada)

    votes = imported.judgments.select_related("comparison__completion_a")
    assert {(vote.comparison.completion_a.text == "bad") == (vote.verdict == "A") for vote in votes} == {True}
    assert imported.judgments.count() == 600


@pytest.mark.parametrize(
    "name", ["../../x.jsonl", "/etc/passwd", "..\\..\\x", "%252e%252e", "a\x01b", "ß" * 300, "‮gpj.exe", ".", "con"]
)
def test_a_name_is_a_label_and_never_a_place(kitchen, ada, storage, name):
    imported = upload(kitchen, ada, lines(pair(1)), name.replace("\x00", ""))

    assert imported.state == "checked"
    (stored,) = stored_files(storage)
    assert stored == imported.file
    assert (stored[:8], os.listdir(storage)) == ("imports/", ["imports"])


def test_the_cause_names_the_file_as_people_know_it(kitchen, ada, storage):
    imported = upload(kitchen, ada, "x".encode("utf-16"), "odd.jsonl")

    assert imported.state == "refused"
    assert imported.report["cause"] == "odd.jsonl is UTF-16: save it as UTF-8"


def test_the_lease_ends_with_the_work(kitchen, ada):
    imported = upload(kitchen, ada, lines(pair(1)))

    assert cache.get(f"import-{imported.pk}") is None
