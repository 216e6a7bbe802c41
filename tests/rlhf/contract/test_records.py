from __future__ import annotations

import hashlib

import pytest

from rlhf.contract.errors import RecordError
from rlhf.contract.records import canonical_line, hash_lines, read_rows, write_rows


def test_one_row_has_one_spelling():
    assert canonical_line({"b": 1, "a": "ü"}) == canonical_line({"a": "ü", "b": 1}) == '{"a":"ü","b":1}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(RecordError):
        canonical_line({"value": value})


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [{"text": "line\nbreak\u2028"}, {"text": ""}]

    write_rows(tmp_path / "train.jsonl", rows)

    assert list(read_rows(tmp_path / "train.jsonl")) == rows


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": \n')

    with pytest.raises(RecordError, match=r"train\.jsonl line 2"):
        list(read_rows(tmp_path / "train.jsonl"))


def test_the_hash_is_over_the_bytes_joined():
    assert hash_lines([b"a\n", b"b\n"]) == hashlib.sha256(b"a\nb\n").hexdigest()
