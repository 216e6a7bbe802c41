"""An import takes turns with labelers: short transactions on SQLite, and long rests where somebody else writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain.intake import pacing
from labeling.domain.intake.pacing import CHUNK, FIRST, HELD_S, LEAST, Pace, size_chunk


@pytest.mark.parametrize(
    ("n_rows", "held_s", "following"),
    [
        (100, HELD_S, 100),
        (100, 2 * HELD_S, 50),
        (100, HELD_S / 8, 200),  # at most twice as many
        (100, 0.0, 200),
        (LEAST, 60.0, LEAST),
        (CHUNK, HELD_S / 2, CHUNK),
    ],
)
def test_the_next_transaction_is_as_long_as_it_may_hold_the_lock(n_rows: int, held_s: float, following: int) -> None:
    assert size_chunk(n_rows, held_s) == following


@pytest.mark.django_db
@pytest.mark.database
def test_rows_are_cut_as_the_last_transaction_says_and_none_is_lost() -> None:
    pace, sizes, seen = Pace(), [], []

    for chunk in pace.cut(range(3 * CHUNK)):
        sizes.append(len(chunk))
        seen += chunk
        pace.n_rows = 7

    assert seen == list(range(3 * CHUNK))
    assert sizes[0] == (FIRST if connection.vendor == "sqlite" else CHUNK)
    assert set(sizes[1:-1]) == {7}


@pytest.mark.django_db
@pytest.mark.database
def test_postgres_is_asked_nothing_and_nobody_rests_there(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    monkeypatch.setattr(pacing.time, "sleep", lambda _: pytest.fail("rested"))

    with CaptureQueriesContext(connection) as captured, Pace().turn():
        pass

    assert [row["sql"].split()[0] for row in captured.captured_queries] == ["SAVEPOINT", "RELEASE"]


@pytest.mark.django_db
def test_two_thirds_of_the_time_are_left_to_whoever_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database of its own, which two connections share."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL locks rows")
    ours, theirs = (sqlite3.connect(tmp_path / "shared", isolation_level=None) for _ in range(2))
    theirs.execute("CREATE TABLE vote (id INTEGER)")
    monkeypatch.setattr(Pace, "_read_version", lambda _: ours.execute("PRAGMA data_version").fetchone()[0])
    clock, rests = [100.0], []
    monkeypatch.setattr(pacing.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pacing.time, "sleep", rests.append)
    pace = Pace()

    def store(held_s: float) -> None:
        with pace.turn():
            clock[0] += held_s

    store(0.25)
    theirs.execute("INSERT INTO vote VALUES (1)")
    store(0.25)
    store(0.5)
    clock[0] += pacing.SHARED_S
    store(0.25)

    assert rests == [pacing.GAP_S, 0.5, 1.0, pacing.GAP_S]
