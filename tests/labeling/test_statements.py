"""Statements compiled once: they say what their querysets say, on both databases, and take values of every kind."""

import re
import uuid

import pytest
from django.contrib.auth import authenticate
from django.contrib.sessions.backends.db import SessionStore as DjangosSessionStore
from django.db import connection
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import accounts, sessions, statements
from labeling.domain import assignment, flood, leases, placing, probes, selection, tallying
from labeling.domain.assignment import claim_slot
from labeling.models import Comparison, Judgment, Slot, User
from labeling.statements import Change, compiled, compiled_change, insert_later
from tests.labeling.rows import add_pair

pytestmark = [pytest.mark.django_db, pytest.mark.database]

NOW = timezone.now()
TOKEN = uuid.UUID(int=7)
READS = [
    (assignment.list_memberships, (1, 2), {}),
    (assignment.lock_memberships, (1, 2), {}),
    (assignment.list_held, (2, 1), {}),
    (leases.list_expired, (1,), {}),
    (placing.list_given, (3,), {}),
    (flood.list_votes, (2,), {"position": 120}),
    (sessions.list_sessions, ("key", NOW), {}),
    (accounts.list_users, (2,), {}),
    (tallying.list_strengths, (4,), {}),
    *((probes.list_drawn, (1, 2), {"is_exam": is_exam}) for is_exam in (False, True)),
    *((selection.list_unsliced, (1, 2), {"order": order}) for order in selection.ORDERS.values()),
    (selection.list_unsliced, (1, 2), {"order": selection.RANDOM_ORDER}),
    *((selection.list_ahead, (1, 2, 0, 3, 0.5, 9), {"order": order}) for order in selection.ORDERS.values()),
    (selection.list_ahead, (1, 2, 0, 3, 0.5, 9), {"order": selection.RANDOM_ORDER}),
]
LEASE = (TOKEN, NOW, NOW, "random", 0.5)
CHANGES = [
    (leases.hold_free, (3, 1, 2, *LEASE), {"is_shown": True}),
    (leases.hold_free, (3, 1, 2, *LEASE), {"is_shown": False}),
    (placing.close_held, (3, 2), {}),
    (tallying.store_tally, (4, 2, 3, True), {}),
]


def capture(act):
    with CaptureQueriesContext(connection) as captured:
        act()
    words = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return [row["sql"] for row in captured.captured_queries if not row["sql"].startswith(words)]


def name_statement(row):
    return row.__name__ if callable(row) else None


def spell(sql):
    """Return SQL without the brackets Django puts around what stands for a value, and without PostgreSQL's types."""
    plain = re.sub(r"::(timestamptz|uuid|float8|int8|text)\b", "", sql)
    return re.sub(r"\(([0-9.]+|'[^']*')\)", r"\1", plain)


@pytest.mark.parametrize(("read", "values", "shape"), READS, ids=name_statement)
def test_a_compiled_read_is_what_its_queryset_says(read, values, shape):
    def ask_django():
        # A key stands for its row where a statement is compiled; Django wants the row.
        asks_by_row = read in (selection.list_unsliced, selection.list_ahead, probes.list_drawn)
        list(read.__wrapped__(*((values[0], User(pk=values[1]), *values[2:]) if asks_by_row else values), **shape))

    assert spell(*capture(lambda: read(*values, **shape))) == spell(*capture(ask_django))


@pytest.mark.parametrize(("change", "values", "shape"), CHANGES, ids=name_statement)
def test_a_compiled_change_is_what_its_queryset_says(change, values, shape):
    def ask_django():
        rows, said = change.__wrapped__(*values, **shape)
        rows.update(**said)

    assert spell(*capture(lambda: change(*values, **shape))) == spell(*capture(ask_django))


@compiled
def list_slots(number, state):
    slots = Slot.objects.select_related("comparison__prompt", "slice", "labeler")
    return slots.filter(number=number, state=state, reason="100% %s")


@compiled_change
def mark(slot, reason, propensity, lease_token, shown_at):
    values = {"propensity": propensity, "lease_token": lease_token, "shown_at": shown_at}
    return Change(Slot.objects.filter(pk=slot), values | {"reason": reason})


def test_values_of_every_kind_come_back_as_they_were(kitchen):
    slot = add_pair(kitchen).slots.get()

    assert mark(slot.pk, "100% %s", 0.25, TOKEN, NOW) == 1
    (found,) = list_slots(0, "free")

    assert found == slot
    assert (found.propensity, found.lease_token, found.shown_at) == (0.25, TOKEN, NOW)
    assert found.comparison.prompt.messages == slot.comparison.prompt.messages
    assert (found.slice, found.labeler) == (None, None)
    assert list_slots(1, "free") == list_slots(0, "held") == []


def test_rows_that_are_related_come_with_it(kitchen, grace):
    add_pair(kitchen)
    slot = claim_slot(kitchen, grace)
    mark(slot.pk, "100% %s", 0.25, TOKEN, NOW)

    (found,) = list_slots(0, "held")

    with CaptureQueriesContext(connection) as captured:
        assert (found.labeler, found.comparison, found.comparison.prompt) == (
            grace,
            slot.comparison,
            slot.comparison.prompt,
        )
    assert len(captured) == 0


def test_a_row_is_inserted_as_save_inserts_it(kitchen, grace, hedy):
    comparison = add_pair(kitchen, overlap=2)
    facts = {"comparison": comparison, "verdict": "A", "strength": -1, "scale": "seven", "a_shown_left": True}
    facts |= {"axes": {"truth": 1}, "reasons": ["100%"], "shown_at": NOW, "submitted_at": NOW, "is_extra": True}

    ours = Judgment(labeler=grace, **facts)
    insert_later(ours).settle()
    theirs = Judgment.objects.create(labeler=hedy, **facts)

    assert read_facts(ours) == read_facts(theirs)
    assert Judgment.objects.get(labeler=grace).idempotency_key == ours.idempotency_key


def read_facts(judgment):
    stored = vars(Judgment.objects.get(pk=judgment.pk))
    return {name: stored[name] for name in stored.keys() - {"_state", "id", "labeler_id", "idempotency_key"}}


def test_an_inserted_row_can_be_saved_again(kitchen, grace):
    comparison = add_pair(kitchen)
    made = Comparison(
        project=kitchen,
        prompt=comparison.prompt,
        completion_a=comparison.completion_b,
        completion_b=comparison.completion_a,
        content_sha="another",
    )

    insert_later(made).settle()
    made.priority = 3
    made.save()

    assert Comparison.objects.get(content_sha="another").priority == 3


def test_a_session_of_djangos_own_is_read_and_ends_with_the_logout():
    theirs = DjangosSessionStore()
    theirs["who"] = "grace"
    theirs.save()

    assert sessions.SessionStore(theirs.session_key)["who"] == "grace"
    theirs.flush()
    assert "who" not in sessions.SessionStore(theirs.session_key or "gone")


def test_what_is_done_to_a_session_that_was_read_is_not_done_to_the_next_one():
    stored = sessions.SessionStore()
    stored["seen"] = [1]
    stored.save()

    sessions.SessionStore(stored.session_key)["seen"].append(2)

    assert sessions.SessionStore(stored.session_key)["seen"] == [1]


def test_a_session_whose_signature_is_wrong_says_nothing():
    signed = sessions.SessionStore().encode({"who": "grace"})

    assert sessions.SessionStore().decode(signed) == {"who": "grace"}
    assert sessions.SessionStore().decode(signed[:-1] + ("a" if signed[-1] != "a" else "b")) == {}


def test_an_old_session_is_no_session():
    store = sessions.SessionStore()
    store["who"] = "grace"
    store.set_expiry(-1)
    store.save()

    assert "who" not in sessions.SessionStore(store.session_key)


def test_whose_account_was_closed_is_nobody(grace):
    backend = accounts.PasswordBackend()
    assert backend.get_user(grace.pk) == grace

    grace.is_active = False
    grace.save()

    assert backend.get_user(grace.pk) is None
    assert authenticate(username="grace", password="correct horse") is None


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_model_made_of_a_row_is_like_one_django_makes(kitchen, grace, is_heard):
    add_pair(kitchen)
    claim_slot(kitchen, grace)
    heard = []
    if is_heard:
        post_init.connect(lambda instance, **_: heard.append(type(instance)), sender=Slot, weak=False, dispatch_uid="t")
    statements.forget_compiled()

    try:
        (made,) = placing.list_given(Slot.objects.get().pk)
    finally:
        post_init.disconnect(sender=Slot, dispatch_uid="t")
        statements.forget_compiled()

    django = Slot.objects.with_texts().get()
    facts = [(row._meta.label, {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields}) for row in (
        made, made.project, made.comparison, made.comparison.prompt, made.comparison.completion_a,
        django, django.project, django.comparison, django.comparison.prompt, django.comparison.completion_a,
    )]  # fmt: skip
    assert facts[:5] == facts[5:]
    assert (made._state.adding, made._state.db) == (django._state.adding, django._state.db)
    assert (Slot in heard) == is_heard
