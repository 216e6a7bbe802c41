from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.domain import idling
from labeling.domain.assignment import claim_slot, release_slot, reserve_slot
from labeling.domain.bulk import change_slice
from labeling.domain.overlap import open_slots, set_overlap, shut_slots
from labeling.domain.skipping import accept_slice, decline_slice
from labeling.models import Judgment, Slice, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, expire, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]

N = 20_000


def age(*, minutes: int = 60) -> None:
    """Let all there is have been opened long ago."""
    Slot.objects.update(opened_at=timezone.now() - timedelta(minutes=minutes))


def walk_in_vain(project, labeler):
    """Let a labeler be given nothing of a queue as old as the hills."""
    age()
    assert claim_slot(project, labeler) is None
    assert idling._walked


def count_read(statements):
    """Return how many rows of large tables the reads among these statements touch, run once more."""
    n = 0
    for sql in statements:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {sql}".replace("%", "%%"))
            for (line,) in cursor.fetchall():
                if found := re.search(r"rows=([\d.]+) loops=(\d+)", line):
                    n += float(found[1]) * int(found[2])
                if found := re.search(r"Rows Removed by (?:Filter|Index Recheck): (\d+)", line):
                    n += int(found[1])
    return n


def count_steps(act):
    """Return how many rows an act reads: on PostgreSQL by its plans, on SQLite by the steps of its machine."""
    if connection.vendor == "postgresql":
        with CaptureQueriesContext(connection) as captured:
            act()
        return count_read([row["sql"] for row in captured.captured_queries if row["sql"].startswith("SELECT")])
    ticks = [0]

    def tick():
        ticks[0] += 1
        return 0

    connection.ensure_connection()
    connection.connection.set_progress_handler(tick, 100)
    try:
        act()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return ticks[0] * 100 / 30  # some thirty steps of its machine a row, looked up by index


def fill_judged(project, labeler):
    """Give the project so many free slots of comparisons that the labeler has judged, all of one prompt."""
    first = add_pair(project)
    with connection.cursor() as cursor:
        copy_rows(cursor, "comparison", first.pk, content_sha="'c' || n.i")
        columns = "project_id, comparison_id, number, priority, score, shuffle, a_shown_left, reason, propensity, state"
        cursor.execute(
            f"INSERT INTO labeling_slot (id, {columns}) SELECT 9000000 + id, project_id, id, 0, 0, 0, id % 1000, TRUE, "
            f"'random', 1, 'free' FROM labeling_comparison WHERE id <> {first.pk}"
        )
    rows = Slot.objects.filter(opened_at=None).values_list("comparison", flat=True)
    Judgment.objects.bulk_create(
        [
            Judgment(
                comparison_id=pk, labeler=labeler, is_extra=True, verdict="A", strength=-1, scale="seven",
                a_shown_left=True, shown_at=timezone.now(),
            )
            for pk in rows
        ],
        batch_size=1000,
    )  # fmt: skip
    judge(claim(project, labeler), labeler)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def copy_rows(cursor, table, pk, **changes):
    """Copy a row N times, with its columns but for these."""
    cursor.execute(f"SELECT * FROM labeling_{table} WHERE id = {pk}")
    columns = [column[0] for column in cursor.description if column[0] != "id"]
    values = [changes.get(column, f"row.{column}") for column in columns]
    counting = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {N})"
    cursor.execute(
        f"{counting} INSERT INTO labeling_{table} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM n, labeling_{table} row WHERE row.id = {pk}"
    )


def test_who_is_done_has_the_queue_walked_once_and_then_only_what_was_opened(kitchen, grace, hedy):
    fill_judged(kitchen, grace)
    assert Slot.objects.free().count() == N

    first = count_steps(lambda: claim_slot(kitchen, grace))
    later = count_steps(lambda: claim_slot(kitchen, grace))
    pair = add_pair(kitchen, "a new one")
    given = []
    found = count_steps(lambda: given.append(claim_slot(kitchen, grace)))

    assert first > N
    assert later < 200
    assert found < 2000
    assert [slot.comparison_id for slot in given] == [pair.pk]
    assert claim(kitchen, hedy).comparison_id != pair.pk


def test_what_is_new_is_hers_at_the_next_poll(kitchen, grace):
    walk_in_vain(kitchen, grace)
    pair = add_pair(kitchen, "a new one")

    assert claim(kitchen, grace).comparison_id == pair.pk


def test_what_another_gives_back_or_lets_expire_is_hers_at_the_next_poll(kitchen, grace, hedy):
    released, expired = add_pairs(kitchen, 2)
    shown, reserved = claim(kitchen, hedy), reserve_slot(kitchen, hedy)
    walk_in_vain(kitchen, grace)

    release_slot(reserved, hedy)
    given = claim(kitchen, grace)
    judge(given, grace)
    walk_in_vain(kitchen, grace)
    expire(shown)

    assert {given.comparison_id, claim(kitchen, grace).comparison_id} == {released.pk, expired.pk}


def test_what_is_queued_again_is_hers_at_the_next_poll(kitchen, ada, grace, hedy):
    shut, done = add_pairs(kitchen, 2)
    shut_slots([shut.pk])
    judge(claim(kitchen, hedy), hedy)
    walk_in_vain(kitchen, grace)

    open_slots([shut.pk])
    first = claim(kitchen, grace)
    judge(first, grace)
    walk_in_vain(kitchen, grace)
    set_overlap([done.pk], 2, actor=ada)

    assert (first.comparison_id, claim(kitchen, grace).comparison_id) == (shut.pk, done.pk)


def test_what_changes_its_slice_or_whoever_changes_hers_is_seen_at_the_next_poll(kitchen, ada, grace):
    code = Slice.objects.create(project=kitchen, name="code")
    prose = Slice.objects.create(project=kitchen, name="prose")
    pair = add_pair(kitchen)
    change_slice(kitchen, [pair.prompt], ("code", ""), actor=ada)
    decline_slice(kitchen, grace, code.name)
    walk_in_vain(kitchen, grace)

    accept_slice(kitchen, grace, code.name)
    given = claim(kitchen, grace)
    decline_slice(kitchen, grace, code.name)
    walk_in_vain(kitchen, grace)
    pair.prompt.refresh_from_db()
    change_slice(kitchen, [pair.prompt], (prose.name, ""), actor=ada)

    assert (given.comparison_id, claim(kitchen, grace).comparison_id) == (pair.pk, pair.pk)


def test_a_walk_is_believed_for_a_while_only(kitchen, grace):
    walk_in_vain(kitchen, grace)
    pair = add_pair(kitchen, "queued by hand, without a time")
    age(minutes=600)

    assert claim_slot(kitchen, grace) is None
    (key,) = idling._walked
    idling._walked[key] -= idling.BELIEVED

    assert claim(kitchen, grace).comparison_id == pair.pk
