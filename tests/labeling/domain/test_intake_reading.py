"""What a stranger's file may be, and what is said of one that is not."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from labeling.domain.intake.reading import Limits, RawRow, SourceFile
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.strict_json import StrictDecoder
from labeling.domain.intake.window import BLOCK_CHARS, Window

GOOD = b'{"a": 1}'


def read(tmp_path: Path, content: bytes, limits: Limits = Limits()) -> list[RawRow]:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    return list(SourceFile(path, limits).read_rows())


def read_problem(tmp_path: Path, line: bytes, limits: Limits = Limits()) -> str:
    """Return what is said of a line that stands between two good ones, which must be read all the same."""
    before, bad, after = read(tmp_path, b"\n".join([GOOD, line, GOOD]), limits)
    assert (before, after) == (RawRow(1, {"a": 1}), RawRow(3, {"a": 1}))
    assert (bad.line, bad.value) == (2, {})
    return bad.problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": ', "not JSON: Expecting value at column 6"),
        (b'{"a": 1} x', "not JSON: something follows the value at character 10"),
        (b"\xff\xfea", "not UTF-8 at byte 1"),
        (b'{"a": NaN}', "NaN is not JSON; use null or leave it out"),
        (b'{"a": -Infinity}', "-Infinity is not JSON; use null or leave it out"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' comes twice in one object"),
        (b'"text"', "a row must be a JSON object, got str"),
        (b"7", "a row must be a JSON object, got int"),
        (b'{"a": ' + b"[" * 250 + b"]" * 250 + b"}", "nested deeper than 200 levels"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 200 levels"),
    ],
)
def test_a_bad_line_is_named_and_the_lines_around_it_are_read(tmp_path: Path, line: bytes, problem: str) -> None:
    assert read_problem(tmp_path, line) == problem


def test_a_number_of_thousands_of_digits_is_a_bad_line(tmp_path: Path) -> None:
    assert read_problem(tmp_path, b'{"a": ' + b"9" * 100_000 + b"}").startswith("not readable: Exceeds the limit")


def test_a_line_over_the_limit_is_passed_over_without_being_kept(tmp_path: Path) -> None:
    line = b'{"a": "' + b"x" * 1000 + b'"}'

    assert read_problem(tmp_path, line, Limits(line_bytes=100)) == "longer than 100 bytes"


def test_byte_order_mark_carriage_returns_and_blank_lines_are_tolerated(tmp_path: Path) -> None:
    rows = read(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\r\n  {"a": 2}  \r\n')

    assert rows == [RawRow(1, {"a": 1}), RawRow(3, {"a": 2})]


def test_utf_16_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="is UTF-16: save it as UTF-8"):
        read(tmp_path, '{"a": 1}'.encode("utf-16"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="No such file"):
        list(SourceFile(tmp_path / "nowhere.jsonl").read_rows())


def test_packed_and_plain_content_are_the_same_rows_and_the_same_hash(tmp_path: Path) -> None:
    content = b'{"a": 1}\n{"a": 2}\n'
    plain, packed = tmp_path / "plain.jsonl", tmp_path / "packed"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    sources = [SourceFile(plain), SourceFile(packed)]

    rows = [list(source.read_rows()) for source in sources]

    assert rows[0] == rows[1] == [RawRow(1, {"a": 1}), RawRow(2, {"a": 2})]
    assert sources[0].sha256 == sources[1].sha256


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-12], lambda packed: packed[:20] + b"\x00" * 9 + packed[29:]]
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    packed = gzip.compress(b"".join(b'{"a": "%d"}\n' % (number * 7919) for number in range(500)))

    with pytest.raises(FileRefused, match="cannot be read"):
        read(tmp_path, damage(packed))


@pytest.mark.parametrize("filler", [b" " * 999 + b"\n", b"x" * 1000])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path, filler: bytes) -> None:
    bomb = gzip.compress(GOOD + b"\n" + filler * 30_000)
    assert len(bomb) < 200_000

    with pytest.raises(FileRefused, match="unpacks to more than 20,000,000 bytes: split it"):
        read(tmp_path, bomb, Limits(file_bytes=20_000_000))


def test_an_array_is_read_row_by_row(tmp_path: Path) -> None:
    rows = read(tmp_path, b'\n [ {"a": 1},\n {"a": NaN}, 3,\n {"a": 4} ]\n')

    assert rows == [
        RawRow(1, {"a": 1}),
        RawRow(2, {}, "NaN is not JSON; use null or leave it out"),
        RawRow(3, {}, "a row must be a JSON object, got int"),
        RawRow(4, {"a": 4}),
    ]
    assert read(tmp_path, b"[]") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"a": 1}\n{"a": 2}]', "a comma or ] is missing on line 2"),
        (b'[{"a": 1},\n{"a": ]', "not JSON: Expecting value at line 2, column 7"),
        (b'[{"a": 1},]', "not JSON: Expecting value at column 11"),
        (b'[{"a": 1}', "a comma or ] is missing on line 1"),
        (b'[{"a": 1}]\n{"a": 2}', "something follows the array on line 1"),
        (b'[{"a": 1},\n\xff]', "not UTF-8 on line 2"),
    ],
)
def test_an_array_that_stops_being_json_is_refused_where_it_stops(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(FileRefused) as refused:
        read(tmp_path, content)

    assert reason in str(refused.value)


def test_a_row_of_an_array_over_the_limit_is_refused_with_its_number_and_the_next_is_read(tmp_path: Path) -> None:
    rows = read(tmp_path, json.dumps([{"a": "x" * 1000}, {"a": 1}]).encode(), Limits(line_bytes=500))

    assert rows == [RawRow(1, {}, "longer than 500 characters"), RawRow(2, {"a": 1})]


def test_a_row_of_an_array_that_never_ends_is_given_up_at_the_limit(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match=r"Unterminated string.* a row may have 500 characters"):
        read(tmp_path, b'[{"a": "' + b"x" * 10_000_000, Limits(line_bytes=500))


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 7, 100])
def test_an_array_means_the_same_wherever_its_bytes_are_cut(n_bytes: int) -> None:
    values = [{"a": "é😀\n"}, 12, 1.5e3, "x", None, True, [], [[{}]], {"b": [1, {"c": "]"}]}, -0.5]
    stream = io.BytesIO(
        ("\n[ " + ",\n ".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n] ").encode()
    )

    read_values = list(StrictDecoder(20).decode_array(Window(lambda n: stream.read(n_bytes)), 10_000))

    assert read_values == [(value, "") for value in values]


def test_of_a_long_array_only_a_part_is_held() -> None:
    n_rows, held = 100_000, 0
    stream = io.BytesIO(b"[" + b",\n".join(b'{"prompt": "what is it?", "n": 1}' for _ in range(n_rows)) + b"]")
    window = Window(stream.read)

    for _ in StrictDecoder(20).decode_array(window, 10_000):
        n_rows, held = n_rows - 1, max(held, len(window.text))

    assert (n_rows, held < 3 * BLOCK_CHARS) == (0, True)


def test_parquet_rows_are_read_with_their_lists(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"{number}?"}], "n": number} for number in range(450)]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "file.jsonl")
    source = SourceFile(tmp_path / "file.jsonl")

    read_back = list(source.read_rows())

    assert read_back == [RawRow(number + 1, row) for number, row in enumerate(rows)]
    assert source.unit == "row"


def test_a_parquet_file_that_unpacks_too_far_or_is_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pyarrow.parquet.write_table(pa.table({"a": ["x" * 1000] * 5000}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(FileRefused, match="unpacks to more than 1,000,000 bytes"):
        list(SourceFile(path, Limits(file_bytes=1_000_000)).read_rows())

    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(FileRefused, match="cannot be read"):
        list(SourceFile(path).read_rows())


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("shape", [lambda text: text, lambda text: [{"content": text}]])
def test_a_text_that_a_parquet_file_repeats_is_unpacked_for_no_row_that_is_too_long(
    tmp_path: Path, store_schema: bool, shape: Callable[[str], Any]
) -> None:
    path, before = tmp_path / "file.parquet", pa.total_allocated_bytes()
    rows = [{"p": shape("x" * 4_000_000)}] * 100 + [{"p": shape("short")}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, compression="zstd", store_schema=store_schema)
    del rows
    assert path.stat().st_size < 20_000

    found, peak = [], 0
    for row in SourceFile(path, Limits(line_bytes=1_000_000)).read_rows():
        found.append(row)
        peak = max(peak, pa.total_allocated_bytes() - before)

    too_long = [RawRow(number, {}, "longer than 1,000,000 bytes") for number in range(1, 101)]
    assert found == [*too_long, RawRow(101, {"p": shape("short")})]
    assert peak < 50_000_000


def test_a_parquet_file_whose_rows_come_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pyarrow.parquet.write_table(pa.table({"a": ["x" * 10_000] * 500}), path)

    with pytest.raises(FileRefused, match="unpacks to more than 1,000,000 bytes"):
        list(SourceFile(path, Limits(file_bytes=1_000_000)).read_rows())


def test_a_parquet_file_of_shared_beginnings_is_refused(tmp_path: Path) -> None:
    path, encoding = tmp_path / "file.parquet", {"a": "DELTA_BYTE_ARRAY"}
    table = pa.table({"a": ["x" * 10_000 + str(number) for number in range(500)]})
    pyarrow.parquet.write_table(table, path, use_dictionary=False, column_encoding=encoding)

    with pytest.raises(FileRefused, match="DELTA_BYTE_ARRAY are not read"):
        list(SourceFile(path).read_rows())
