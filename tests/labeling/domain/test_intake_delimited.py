"""Tables: CSV and TSV with a header, as spreadsheets and people write them."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from labeling.domain.intake.reading import Limits, RawRow, SourceFile
from labeling.domain.intake.refusals import FileRefused


def read(tmp_path: Path, content: str | bytes, limits: Limits = Limits()) -> list[RawRow]:
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(SourceFile(path, limits).read_rows())


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_what_separates_the_columns_is_found_out(tmp_path: Path, delimiter: str) -> None:
    rows = read(tmp_path, f"a{delimiter}b\n1{delimiter}2\n")

    assert rows == [RawRow(2, {"a": "1", "b": "2"})]


def test_quoted_fields_hold_separators_quotes_and_lines_and_rows_go_by_the_line_they_begin_on(tmp_path: Path) -> None:
    rows = read(tmp_path, 'a,b\n"1,\n2","say ""x"""\r\n\n ,\n')

    assert rows == [RawRow(2, {"a": "1,\n2", "b": 'say "x"'}), RawRow(5, {"a": " ", "b": ""})]


def test_a_byte_order_mark_blank_lines_before_the_header_and_gzip_are_tolerated(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\n\na,b\n1,2\n"

    assert read(tmp_path, content) == read(tmp_path, gzip.compress(content)) == [RawRow(4, {"a": "1", "b": "2"})]


def test_a_column_without_a_name_goes_by_its_number(tmp_path: Path) -> None:
    assert read(tmp_path, "a,,c\n1,2,3\n") == [RawRow(2, {"a": "1", "column 2": "2", "c": "3"})]


def test_a_row_of_another_length_is_bad_and_the_next_one_is_read(tmp_path: Path) -> None:
    rows = read(tmp_path, "a,b\n1\n1,2,3\n1,2\n")

    assert rows == [
        RawRow(2, {}, "has 1 fields where the header names 2 columns"),
        RawRow(3, {}, "has 3 fields where the header names 2 columns"),
        RawRow(4, {"a": "1", "b": "2"}),
    ]


def test_a_field_longer_than_python_takes_by_itself_is_kept_whole(tmp_path: Path) -> None:
    (row,) = read(tmp_path, f'a,b\n{"x" * 300_000},"{"y" * 300_000}"\n')

    assert row.value == {"a": "x" * 300_000, "b": "y" * 300_000}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('a,b\n1,"2\n3,4\n', "not readable from line 2 on: unexpected end of data"),
        ('a,b\n"1"x,2\n', "not readable from line 2 on: ',' expected after"),
        (b"a,b\n1,2\n\xff,2\n", "not UTF-8 on line 3: save the file as UTF-8"),
        ("a,b\x00\n1,2\n", "a column's name holds a character that cannot be stored"),
        ("a,a\n1,2\n", "two columns are named 'a': rename one"),
        ("," * 1001 + "\n", "the header names 1,002 columns; at most 1,000 are read"),
    ],
)
def test_a_table_that_stops_being_one_is_refused_where_it_stops(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(FileRefused) as refused:
        read(tmp_path, content)

    assert reason in str(refused.value)


def test_a_quotation_mark_that_is_never_closed_does_not_swallow_the_file(tmp_path: Path) -> None:
    content = 'a,b\n1,"2\n' + "x,y\n" * 10_000

    with pytest.raises(FileRefused, match="the row that begins on line 2 is longer than 1,000 bytes: is a quotation"):
        read(tmp_path, content, Limits(line_bytes=1000))


@pytest.mark.parametrize("content", ["a,b\n" + "," * 9_000_000, "," * 9_000_000, "a,b\n" + '"x' * 4_000_000])
def test_millions_of_columns_and_endless_lines_are_answered_in_time(tmp_path: Path, content: str) -> None:
    started_s = time.process_time()

    try:
        rows = read(tmp_path, content)
    except FileRefused:
        rows = []

    assert [row.problem for row in rows] in ([], ["has 9000001 fields where the header names 2 columns"])
    assert time.process_time() - started_s < 60  # well under one on an idle machine; quadratic, it takes minutes


def test_json_that_is_broken_on_its_first_line_is_no_table(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1, "b"\n{"a": 1}\n') == [
        RawRow(1, {}, "not JSON: Expecting ':' delimiter at column 13"),
        RawRow(2, {"a": 1}),
    ]
