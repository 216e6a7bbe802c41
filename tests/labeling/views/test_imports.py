"""The upload door: who may use it, what it says of every strange file, and that the request itself reads none."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from labeling.domain.intake.checking import check_import
from labeling.domain.intake.committing import commit_import
from labeling.forms import imports as forms
from labeling.models import Comparison, Import, ImportedJudgment, Prompt, Slot
from tests.labeling.conftest import log_in
from tests.labeling.domain.hostile import PAYLOADS

pytestmark = [pytest.mark.django_db, pytest.mark.database]

LIST = "/projects/kitchen/imports/"
CSV = "Frage,Gut,Schlecht\nWarum?,Darum.,Nein\n"
GOOD = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    backend = {**settings.STORAGES["default"], "OPTIONS": {"location": str(tmp_path / "files")}}
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return tmp_path / "files"


def line(**changes: Any) -> str:
    return json.dumps(GOOD | changes) + "\n"


def send(client: Client, content: str | bytes, name: str = "f.jsonl", **fields: str) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(f"{LIST}new/", {"file": SimpleUploadedFile(name, data), **fields})


def upload(client: Client, content: str | bytes, name: str = "f.jsonl", **fields: str) -> Import:
    """Send a file, let the worker check it, and return its row."""
    response = send(client, content, name, **fields)
    imported = Import.objects.latest("pk")
    assert (response.status_code, response.url) == (302, f"{LIST}{imported.pk}/")
    check_import(imported.pk)
    imported.refresh_from_db()
    return imported


def page_of(client: Client, imported: Import, **headers: str) -> str:
    return client.get(f"{LIST}{imported.pk}/", headers=headers).content.decode()


@pytest.mark.parametrize(("box", "n_asked"), [({"blind": "on"}, 1), ({}, 2)], ids=["ticked", "not ticked"])
def test_pairs_that_name_their_writer_are_asked_about_only_where_the_box_is_cleared(as_ada, box, n_asked):
    imported = upload(as_ada, line() + line(prompt="r", chosen="As an AI language model, I am Claude."))
    assert "unless you say otherwise" in page_of(as_ada, imported)
    assert 'name="blind" checked' in re.sub(r'(name="blind")[^>]*?(checked)', r"\1 \2", page_of(as_ada, imported))

    as_ada.post(f"{LIST}{imported.pk}/commit/", {"overlap": "1", "priority": "0"} | box)
    commit_import(imported.pk)

    assert Comparison.objects.filter(overlap=1).count() == n_asked
    assert ImportedJudgment.objects.count() == 2
    assert ("is kept out of the queue" in page_of(as_ada, imported)) is (n_asked == 1)


def test_an_upload_waits_for_its_check_then_for_a_word_and_is_imported(as_ada, ada):
    send(as_ada, line(), source="friends")
    imported = Import.objects.get()
    address = f"{LIST}{imported.pk}/"
    polled = {"hx-request": "true"}

    waiting = as_ada.get(address, headers=polled)
    check_import(imported.pk)
    checked = as_ada.get(address, headers=polled)
    response = as_ada.post(f"{address}commit/", {"overlap": "1", "priority": "5", "slice_name": "", "language": ""})
    storing = as_ada.get(address)
    commit_import(imported.pk)
    done = as_ada.get(address, headers=polled)

    assert [answer.status_code for answer in (waiting, checked, storing, done)] == [200, 286, 200, 286]
    assert "Reading the file: 0%" in waiting.content.decode()
    assert "Import 1 row" in checked.content.decode()
    assert (response.status_code, response.url) == (302, address)
    assert 'hx-trigger="every 2s"' in storing.content.decode()
    assert "imported" in done.content.decode()
    assert list(ImportedJudgment.objects.values_list("imported__source", flat=True)) == ["friends"]
    assert list(Slot.objects.values_list("priority", flat=True)) == [5]


def test_the_request_reads_nothing_of_the_file(as_ada, monkeypatch):
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("the request parses")

    monkeypatch.setattr("labeling.domain.intake.reading.SourceFile.read_rows", read)

    assert send(as_ada, b"\x00" * 1000).status_code == 302
    assert as_ada.get(f"{LIST}{Import.objects.get().pk}/").status_code == 200


def test_a_table_is_mapped_corrected_and_read_alike_the_next_time(as_ada):
    imported = upload(as_ada, CSV + "Was?,gleich,gleich\n", "odd.csv")
    assert "Say which column is what" in page_of(as_ada, imported)
    asked = {"prompt": "0", "chosen": "1", "rejected": "2", "values_a": "A", "values_b": "B"}

    refused = as_ada.post(f"{LIST}{imported.pk}/mapping/", asked | {"rejected": ""})
    as_ada.post(f"{LIST}{imported.pk}/mapping/", asked)
    check_import(imported.pk)
    page = page_of(as_ada, imported)
    fixed = upload(as_ada, CSV, "odd.csv")

    assert (refused.status_code, "say which holds the second completion" in refused.content.decode()) == (422, True)
    assert "both completions are the same text: there is nothing to compare" in page
    assert '<th scope="row" class="number">3</th>' in page
    assert "Import 1 row" in page_of(as_ada, fixed)


def test_messages_in_a_column_are_shown_as_people_read_them(as_ada):
    asked = [
        {"role": "user", "content": "It's “why”?"},
        {"role": "developer", "content": [{"type": "text", "text": "w"}]},
    ]
    imported = upload(as_ada, json.dumps({"odd": asked, "first": {"is": None}, "yes": True}))

    page, refused = page_of(as_ada, imported), as_ada.post(f"{LIST}{imported.pk}/mapping/", {"prompt": ""})
    german = page_of(as_ada, imported, accept_language="de")

    values = re.findall(r'<bdi class="value">(.*?)</bdi>', page, re.DOTALL)
    assert values == ["User: It&#x27;s “why”?\nSystem: w", "{&quot;is&quot;: null}", "True"]
    assert "Benutzer: It&#x27;s “why”?\nSystem: w" in german
    assert ">odd · User: It&#x27;s “why”? System: w</option>" in refused.content.decode()


def test_pairs_without_a_vote_are_not_imported_out_of_the_queue(as_ada):
    imported = upload(as_ada, CSV, "odd.csv")
    asked = {"prompt": "0", "chosen": "1", "rejected": "2", "verdict": "unjudged"}
    as_ada.post(f"{LIST}{imported.pk}/mapping/", asked)
    check_import(imported.pk)

    refused = as_ada.post(f"{LIST}{imported.pk}/commit/", {"overlap": "0", "priority": "0"})
    as_ada.post(f"{LIST}{imported.pk}/commit/", {"overlap": "1", "priority": "0"})
    commit_import(imported.pk)

    assert (refused.status_code, "nobody ever would" in refused.content.decode()) == (422, True)
    assert (Slot.objects.count(), ImportedJudgment.objects.count()) == (1, 0)


def test_all_bad_rows_can_be_downloaded(as_ada):
    imported = upload(as_ada, line() + '{"prompt": "q", "chosen": "\\u0000", "rejected": "b"}\n' * 51)

    page = page_of(as_ada, imported)
    response = as_ada.get(f"{LIST}{imported.pk}/bad-rows.txt")

    reason = "the better completion holds a NUL character at position 0: remove it"
    assert (page.count(reason), "and 1 more" in page) == (50, True)
    assert b"".join(response.streaming_content).decode() == "".join(f"{n}: {reason}\n" for n in range(2, 53))
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="bad-rows-of-import-{imported.pk}.txt"'


def test_thrown_away_it_is_gone_and_what_is_being_imported_is_not(as_ada, storage):
    first, second = upload(as_ada, line()), upload(as_ada, line(prompt="r"))
    as_ada.post(f"{LIST}{second.pk}/commit/", {"overlap": "0", "priority": "0"})

    gone = as_ada.post(f"{LIST}{first.pk}/discard/")
    kept = as_ada.post(f"{LIST}{second.pk}/discard/")

    assert (gone.status_code, gone.url) == (302, LIST)
    assert (kept.status_code, "is being imported" in kept.content.decode()) == (409, True)
    assert list(Import.objects.values_list("pk", flat=True)) == [second.pk]


def test_the_same_file_leads_to_the_import_it_was(as_ada):
    first = upload(as_ada, line())
    as_ada.post(f"{LIST}{first.pk}/commit/", {"overlap": "0", "priority": "0"})
    commit_import(first.pk)

    again = upload(as_ada, line(), "renamed.jsonl")

    page = page_of(as_ada, again)
    assert "This very file has been imported before." in page
    assert f'href="{LIST}{first.pk}/"' in page
    assert as_ada.post(f"{LIST}{again.pk}/commit/", {"overlap": "0", "priority": "0"}).status_code == 409


# T36: what each strange content comes to - the cause said of the file, or the reason said of its second line.
FILES = {
    b"": None,
    b"\xff\xfe" + line().encode("utf-16-le"): "f.jsonl is UTF-16: save it as UTF-8",
    line().encode("utf-16"): "f.jsonl is UTF-16: save it as UTF-8",
    b"[" * 100_000: "f.jsonl is not a JSON array: nested deeper than 200 levels",
    b'[{"prompt": "q"': "f.jsonl is not a JSON array: not JSON: Expecting ',' delimiter at column 16",
    b"PAR1 and nothing else": "cannot be read as Parquet",
    gzip.compress(line().encode())[:-6]: "f.jsonl cannot be read:",
    b"PK\x03\x04" + b"\x00" * 60: "no known format has a row with the keys (none)",
    b"\n\n": "no known format has a row with the keys (none)",
    b"\x00\x01\x02": "no known format has a row with the keys (none)",
}
LINES = {
    '{"prompt": "q", "chosen": NaN, "rejected": "b"}': "NaN is not JSON; use null or leave it out",
    '{"prompt": "q", "chosen": "a", "rejected": Infinity}': "Infinity is not JSON; use null or leave it out",
    '{"prompt": "q", "chosen": "a", "chosen": "c", "rejected": "b"}': "the key 'chosen' comes twice in one object",
    '{"prompt": "q", "chosen": "\\u0000", "rejected": "b"}': "the better completion holds a NUL character",
    '{"prompt": "q", "chosen": "a", "rejected": "\\ud800"}': "the worse completion holds half a surrogate pair (U+D800)",
    '{"prompt": "\\udfff", "chosen": "a", "rejected": "b"}': "message 1 holds half a surrogate pair (U+DFFF)",
    '{"prompt": "q", "chosen": ' + "[" * 100_000 + "]" * 100_000 + "}": "nested deeper than 200 levels",
    '{"prompt": "q", "chosen": ' + "9" * 100_000 + "}": "not readable: Exceeds the limit",
    '{"prompt": "q", "chosen": "a", "rejected": 1e999}': "rejected must be a string, got float",
    '{"prompt": "q", "chosen": "a\x00", "rejected": "b"}': "not JSON: Invalid control character at",
    '{"prompt": "' + "x" * (10 * 2**20) + '"}': "longer than 10,485,760 bytes",
    '{"prompt": 7, "chosen": "a", "rejected": "b"}': "prompt must be a string or a list of messages, got int",
    '{"\x7f\\u0000": 1}': "the row lacks chosen",
    "null": "a row must be a JSON object, got NoneType",
}


@pytest.mark.parametrize(("content", "cause"), FILES.items(), ids=range(len(FILES)))
def test_a_file_that_is_none_is_refused_in_words(as_ada, content, cause):
    if cause is None:
        response = send(as_ada, content)
        assert (response.status_code, "The submitted file is empty." in response.content.decode()) == (422, True)
        return

    imported = upload(as_ada, content)

    page = page_of(as_ada, imported)
    assert imported.state in ("refused", "checked")
    assert cause in imported.report.get("cause", "no known format has a row with the keys (none)")
    assert "/tmp" not in page
    assert as_ada.post(f"{LIST}{imported.pk}/commit/", {"overlap": "0", "priority": "0"}).status_code in (409, 422)
    assert Prompt.objects.count() == 0


@pytest.mark.parametrize(("bad", "reason"), LINES.items(), ids=range(len(LINES)))
def test_a_bad_line_is_named_and_keeps_the_whole_file_out(as_ada, bad, reason):
    imported = upload(as_ada, line() + bad + "\n" + line(prompt="r"))

    ((number, said),) = imported.report["bad"]
    assert (imported.state, number, said[: len(reason)]) == ("refused", 2, reason)
    assert imported.report["n_rows"] == 3
    assert as_ada.get(f"{LIST}{imported.pk}/").status_code == 200
    assert as_ada.post(f"{LIST}{imported.pk}/commit/", {"overlap": "0", "priority": "0"}).status_code == 409
    assert (Prompt.objects.count(), Comparison.objects.count()) == (0, 0)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + line().encode(), line().replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_carriage_returns_are_tolerated(as_ada, content):
    assert upload(as_ada, content).state == "checked"


def test_a_bomb_is_refused_in_time_and_without_the_memory(as_ada):
    bomb = gzip.compress(line().encode() + b" " * 300_000_000, 9)
    assert len(bomb) < 400_000
    send(as_ada, bomb)
    before, started_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()

    check_import(Import.objects.get().pk)

    imported = Import.objects.get()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert imported.state == "refused"
    assert time.process_time() - started_s < 60  # about one on an idle machine; whatever is quadratic takes minutes
    assert grown_mb < 100


NAMES = [
    *("../../x.jsonl", "..\\..\\x", "/etc/passwd", "%2e%2e%2fx", "%252e%252e%252fx", "....//....//x", "a/../../b"),
    *("C:\\x\\y", "\\\\host\\share", "~/.ssh/authorized_keys", "x\ty", "x;rm -rf", "$(touch x)", "`x`", "| x", "-rf"),
    *("con", "nul.txt", "aux.jsonl", "x" * 300, "ß" * 300, "‮gpj.exe", "a\u2028b", "\u200b", " ", "x.php", "x.html"),
    *("<script>alert(1)</script>", '"><img src=x>', "{{ 7*7 }}", "%s%n", "x'; DROP TABLE", "index.html", ".htaccess"),
]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_file_is_called_it_lies_under_its_hash(as_ada, storage, tmp_path, name):
    response = send(as_ada, line(), name)

    if response.status_code == 422:  # a name of nothing but places is no name
        assert Import.objects.count() == 0
        return
    imported = Import.objects.get()
    files = [path.relative_to(storage).as_posix() for path in storage.rglob("*") if path.is_file()]
    assert files == [imported.file]
    assert (imported.file[:8], len(imported.file), os.listdir(tmp_path)) == ("imports/", 81, ["files"])
    assert "/" not in imported.filename
    assert "<script>alert(1)" not in page_of(as_ada, imported)


def test_hostile_texts_are_shown_and_do_nothing(as_ada):
    for payload in PAYLOADS[:40]:
        Import.objects.all().delete()
        imported = upload(as_ada, line(prompt=f"{payload} ?", chosen=payload, rejected=f"no {payload}"))
        page = page_of(as_ada, imported)
        for token in ("<script>alert", "<img ", "<iframe", "<object", 'href="javascript:', "<svg><"):
            assert token not in page, payload


def test_a_file_over_the_limit_is_refused_with_a_way_out_and_not_kept(as_ada, monkeypatch, storage):
    monkeypatch.setattr(forms.BoundedUpload.__init__, "__defaults__", (100_000,))

    response = send(as_ada, b"x" * 200_000)

    assert response.status_code == 422
    assert "A file may have 97.7\xa0KB: pack or split it." in response.content.decode()
    assert (Import.objects.count(), storage.exists()) == (0, False)


def test_the_door_wants_its_token(ada):
    client = Client(enforce_csrf_checks=True)
    client.cookies = log_in(ada).cookies

    assert send(client, line()).status_code == 403
    assert Import.objects.count() == 0


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("get", ""),
        ("post", "new/"),
        ("get", "{pk}/"),
        ("post", "{pk}/mapping/"),
        ("post", "{pk}/commit/"),
        ("post", "{pk}/discard/"),
        ("get", "{pk}/bad-rows.txt"),
    ],
)
def test_the_door_is_the_managers(as_ada, as_grace, as_eve, client, verb, path):
    imported = upload(as_ada, line())
    address = LIST + path.format(pk=imported.pk)

    answers = [getattr(visitor, verb)(address) for visitor in (as_grace, as_eve, client)]

    assert [answer.status_code for answer in answers] == [403, 404, 302]
    assert answers[2].url.startswith("/accounts/login/")
    imported.refresh_from_db()
    assert (imported.state, Import.objects.count()) == ("checked", 1)


def test_an_import_of_another_project_is_not_there(as_ada, garden):
    stranger = Import.objects.create(project=garden, source="s", filename="f", state="checked")

    assert as_ada.get(f"{LIST}{stranger.pk}/").status_code == 404
    assert as_ada.post(f"{LIST}{stranger.pk}/discard/").status_code == 404


def test_the_list_asks_as_often_for_three_as_for_one_and_goes_on_to_older_ones(
    as_ada, kitchen, ada, django_assert_num_queries, django_assert_max_num_queries
):
    def add(number: int) -> None:
        Import.objects.create(project=kitchen, source="s", filename=f"f{number}", state="refused", owner=ada)

    add(0)
    with django_assert_max_num_queries(12) as asked:
        as_ada.get(LIST)
    add(1)
    add(2)
    with django_assert_num_queries(len(asked)):
        as_ada.get(LIST)
    for number in range(3, 27):
        add(number)

    first = as_ada.get(LIST).content.decode()
    last = Import.objects.order_by("-pk")[24].pk
    older = as_ada.get(f"{LIST}?before={last}").content.decode()

    assert f'href="?before={last}"' in first
    assert [f">f{number}<" in older for number in (0, 1, 2)] == [True, True, False]
    assert as_ada.get(f"{LIST}?before=x'").status_code == 200


def test_the_addresses_are_what_other_pages_link_to():
    assert reverse("labeling:import-list", args=["kitchen"]) == LIST
