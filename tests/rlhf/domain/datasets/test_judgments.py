"""Judgments as a table that no spreadsheet runs, wherever it cuts the text into cells."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf.domain.datasets.judgments import neutralize, write_csv


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("hello;=cmd|' /C calc'!A0", "hello;'=cmd|' /C calc'!A0"),
        ("a;; @b", "a;;' @b"),
        ('a\n"=b"', 'a\n\'"=b"'),
        ("a\t+b\r\n-c", "a\t'+b\r\n'-c"),
        ("\n=a", "'\n'=a"),
        (" =a", "' =a"),
        (["a;=b"], '["a;\'=b"]'),
        ("a - b; c = d", "a - b; c = d"),
        (-2, -2),
        (None, None),
    ],
)
def test_no_cell_and_no_part_of_one_begins_like_a_formula(value: Any, cell: Any) -> None:
    assert neutralize(value) == cell


def test_every_cell_is_quoted() -> None:
    rows = iter([{"judgment": 1, "note": 'a;"b"', "strength": -2}])

    assert b"".join(write_csv(rows)) == b'"judgment","note","strength"\r\n"1","a;""b""","-2"\r\n'
