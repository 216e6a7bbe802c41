"""What the queue's reads and writes cost, by the plans both databases make for them: one row of an index, whatever the
size of the tables and however much was judged."""

import re
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.domain.assignment import claim_slot, explain_empty, free_expired
from labeling.domain.errors import TooManyActs
from labeling.domain.flood import refuse_flood_of_skips, refuse_flood_of_votes
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.leases import hold_free
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.domain.placing import close_held
from labeling.domain.progress import measure_progress
from labeling.domain.selection import ORDERS, RANDOM_ORDER, find_best, find_random, list_ahead, list_unsliced
from labeling.domain.turns import RNG, Turn
from labeling.models import Comparison, Judgment, Membership, Skip, Slice, Slot
from labeling.statements import compile_change, compile_read, find_compiled
from tests.labeling.conftest import make_member

pytestmark = [pytest.mark.django_db, pytest.mark.database]

N_COMPARISONS = 1_500
OVERLAP = 3
# PostgreSQL reads small tables whole whatever their indexes; the plans that matter are those of large ones.
SMALL = {"labeling_project", "labeling_user", "labeling_membership", "labeling_slice", "labeling_guideline"}
MESSAGES = [{"role": "user", "content": "Which number?"}]


@pytest.fixture
def full(kitchen, grace):
    """A queue of 4,500 slots of which others judged 800 when the database last counted, and grace 400 since."""
    others = [make_member(kitchen, f"labeler-{number}") for number in range(2)]
    fill_queue(kitchen)
    skipped = propose_comparisons(kitchen, [Pair(messages=MESSAGES, text_a="yes", text_b=f"{n}") for n in range(400)])
    Skip.objects.bulk_create(Skip(comparison=row, labeler=others[0], reason="language") for row in skipped)
    for number, labeler in enumerate(others):
        fill(labeler, start=400 + 400 * number)
    count_rows()
    fill(grace, start=0)
    return kitchen


def fill_queue(project):
    pairs = [
        Pair(messages=[{"role": "user", "content": f"question {n}"}], text_a="yes", text_b=f"no {n}", overlap=OVERLAP)
        for n in range(N_COMPARISONS)
    ]
    propose_comparisons(project, pairs)


def fill(labeler, *, start):
    """Let a labeler have judged 400 comparisons, in the order of the queue."""
    done = list(Slot.objects.filter(number=0).order_by("shuffle")[start : start + 400])
    Slot.objects.filter(pk__in=[slot.pk for slot in done]).update(state="done", labeler=labeler)
    Judgment.objects.bulk_create(
        Judgment(
            comparison_id=slot.comparison_id, labeler=labeler, slot=slot, verdict="A", strength=-1, scale="seven",
            a_shown_left=True, shown_at=timezone.now(),
        )
        for slot in done
    )  # fmt: skip


def count_rows():
    """Let the database count what it plans by."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def capture(act):
    """Return the statements an act makes, those of transactions left out."""
    with CaptureQueriesContext(connection) as captured:
        act()
    words = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT", "ROLLBACK")
    return [row["sql"] for row in captured.captured_queries if not row["sql"].startswith(words)]


def explain(sql):
    """Return the plan of a statement, a line for each step."""
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{sql}".replace("%", "%%"), None if is_sqlite else []
        )
        return [str(row[-1]) for row in cursor.fetchall()]


def find_scans(plan):
    """Return the steps that read a large table whole, sort more than a few rows, or gather what matches in memory."""
    wrong = re.compile(r"SCAN (?!CONSTANT)|USE TEMP B-TREE|Seq Scan|(Sort|Hash|Materialize) .*rows=\d\d|Aggregate")
    return [line for line in plan if wrong.search(line) and not any(table in line for table in SMALL)]


def turn_of(project, labeler):
    return Turn(project, labeler, Membership.objects.get(project=project, user=labeler), has_slices=False)


@pytest.mark.parametrize(
    ("strategy", "find", "index"),
    [
        ("priority", find_best, "slot_free"),
        ("score", find_best, "slot_free_score"),
        ("priority", find_random, "slot_free_random"),
    ],
)
def test_a_candidate_is_the_first_row_of_an_index(full, grace, strategy, find, index):
    full.strategy = strategy
    turn = turn_of(full, grace)

    (sql,) = capture(lambda: find(turn))

    plan = explain(sql)
    assert [line for line in plan if re.search(rf"\b{index}\b", line)]
    assert find_scans(plan) == []
    assert [line for line in plan if "Sort" in line] == []
    # What she met before is looked up by the comparison: never is all of hers read.
    assert [line for line in plan if re.search(r"Index Cond.*labeler_id|\(labeler_id=", line)] == []


def explain_kept(statement, values):
    """Return the plan PostgreSQL keeps for a prepared statement, made without its values."""
    given = [f"'{values[place]}'" for place in statement.places]
    numbered = statement.sql % tuple(f"${number}" for number in range(1, len(given) + 1))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE kept AS {numbered}")
        cursor.execute(f"EXPLAIN EXECUTE kept({', '.join(given)})")
        plan = [row[0] for row in cursor.fetchall()]
        cursor.execute("DEALLOCATE kept")
    return plan


@pytest.mark.parametrize("order", [*ORDERS.values(), RANDOM_ORDER])
def test_the_plan_that_postgres_keeps_knows_no_values_and_is_as_good(full, grace, order):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite plans with the values")
    statement = find_compiled(connection, list_unsliced.__wrapped__, {"order": order}, compile_read)

    plan = explain_kept(statement, (full.pk, grace.pk))

    assert [line for line in plan if re.search(r"\$\d", line)]
    assert [line for line in plan if re.search(r"\bslot_free", line)]
    assert find_scans(plan) == []
    assert [line for line in plan if re.search(r"Index Cond.*labeler_id", line)] == []


@pytest.mark.parametrize("order", [*ORDERS.values(), RANDOM_ORDER])
def test_a_walk_from_the_front_enters_the_index_there(full, grace, order):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's index has nothing that was taken")
    statement = find_compiled(connection, list_ahead.__wrapped__, {"order": order}, compile_read)

    plan = explain_kept(statement, (full.pk, grace.pk, 0, 0, 0.5, 1000))

    bounds = ["number = ", *(["priority = ", "score <= "] if "-score" in order else ["shuffle >= "])]
    assert [line for line in plan if "Index Cond" in line and all(bound in line for bound in bounds)]
    assert [line for line in plan if re.search(r"\bslot_free", line)]
    assert find_scans(plan) == []


LEASE = (uuid.UUID(int=7), timezone.now(), timezone.now(), "random", 0.5)


@pytest.mark.parametrize(
    ("change", "values", "shape"),
    [(close_held, (1, 1), {}), (hold_free, (1, 1, 1, *LEASE), {"is_shown": True})],
    ids=["close", "hold"],
)
def test_a_slot_changes_hands_without_a_look_at_what_others_hold(kitchen, change, values, shape):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite knows of no statistics here, and asks for the key")
    fill_queue(kitchen)
    count_rows()
    statement = find_compiled(connection, change.__wrapped__, shape, compile_change)

    plan = explain_kept(statement, values)

    # Where nobody was counted to hold one, the index of all leases seemed to be the shortest way to any held slot.
    assert [line for line in plan if "slot_lease" in line] == []
    assert find_scans(plan) == []


def test_slices_are_probed_one_stretch_of_the_index_each(full, grace):
    Slice.objects.bulk_create(Slice(project=full, name=f"slice {number}") for number in range(30))
    rows = list(Slice.objects.order_by("pk"))
    for row, slot in zip(rows * 20, Slot.objects.filter(state="free").order_by("pk"), strict=False):
        Slot.objects.filter(pk=slot.pk).update(slice=row)
    count_rows()
    turn = Turn(full, grace, Membership.objects.get(user=grace))

    statements = capture(lambda: find_best(turn))

    assert len(statements) <= 5
    plans = [explain(sql) for sql in statements if "EXISTS" in sql]
    for plan in plans:
        assert [line for line in plan if re.search(r"\bslot_free\b", line)]
    # The heads of thirty slices are sorted, and no more than those.
    assert [line for plan in plans[1:] for line in find_scans(plan)] == []


def test_what_expired_is_found_among_what_is_held(full):
    for sql in capture(lambda: free_expired(full)):
        if not sql.startswith("DELETE"):
            plan = explain(sql)
            assert [line for line in plan if re.search(r"\bslot_(lease|held_by)\b", line)], plan


def test_why_there_is_nothing_is_told_without_reading_what_is_done(full, grace):
    Slot.objects.filter(state="free").delete()
    count_rows()

    statements = capture(lambda: explain_empty(full, grace))

    assert [line for sql in statements for line in find_scans(explain(sql)) if "labeling_judgment" in line] == []
    assert len(statements) <= 9


def test_progress_looks_at_a_window_of_the_queue(full, grace):
    statements = capture(lambda: measure_progress(full, grace))

    assert len(statements) == 3
    plan = explain(next(sql for sql in statements if "counted" in sql))
    assert [line for line in plan if "slot_free" in line]
    assert measure_progress(full, grace).left == 100


@pytest.mark.parametrize(
    ("refuse", "index"), [(refuse_flood_of_votes, "judgment_by_labeler"), (refuse_flood_of_skips, "skip_by_labeler")]
)
def test_whether_she_is_too_fast_is_one_row_of_an_index_whatever_was_counted_of_her(full, grace, refuse, index):
    unmet = Comparison.objects.order_by("-pk")[:400]
    Skip.objects.bulk_create(Skip(comparison=row, labeler=grace, reason="language") for row in unmet)

    with pytest.raises(TooManyActs), CaptureQueriesContext(connection) as captured:
        refuse(grace)

    (sql,) = [row["sql"] for row in captured.captured_queries]
    plan = explain(sql)
    assert [line for line in plan if re.search(rf"\b{index}\b", line)]
    assert [line for line in plan if re.search(r"SCAN (?!CONSTANT)|USE TEMP|Seq Scan|Sort|Bitmap", line)] == []


def judge_next(project, labeler):
    slot = claim_slot(project, labeler)
    record_judgment(
        slot.pk,
        labeler,
        idempotency_key=uuid.uuid4(),
        lease_token=slot.lease_token,
        vote=Vote(preference=1),
    )


def test_claim_and_submit_take_as_many_statements_however_much_was_judged(full, grace, hedy):
    RNG.seed(200472)
    first = capture(lambda: judge_next(full, hedy))
    RNG.seed(200472)
    later = capture(lambda: judge_next(full, grace))

    assert len(first) == len(later) <= 9
    assert [sql for sql in later if re.search(r"COUNT\(|SUM\(|MAX\(|AVG\(", sql)] == []
    reads = [sql for sql in later if sql.startswith("SELECT")]
    plans = [line for sql in reads for line in explain(sql)]
    assert find_scans(plans) == []
    assert [line for line in plans if "labeling_judgment_labeler_id" in line] == []
