"""Statements run through libpq alone: they fail as Django's do, and go through the transactions Django opens."""

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, InternalError, OperationalError, connection, transaction

from labeling.accounts import list_users
from labeling.domain.tallying import list_strengths, store_tally
from labeling.models import Comparison, User
from labeling.prepared import find_prepared, number_places
from labeling.statements import insert_later
from tests.labeling.rows import add_pair


def test_places_are_numbered_and_percent_signs_stand_for_themselves():
    assert number_places("a = %s AND b LIKE '%%s' AND c = %s") == "a = $1 AND b LIKE '%s' AND c = $2"


@pytest.fixture
def on_postgres() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares by itself")


@pytest.mark.database
@pytest.mark.usefixtures("on_postgres")
@pytest.mark.django_db(transaction=True)
class TestOnPostgres:
    def test_a_change_is_undone_with_its_transaction(self, kitchen):
        comparison = add_pair(kitchen)

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            assert store_tally(comparison.pk, 3, 1, True) == 1
            raise ZeroDivisionError

        assert Comparison.objects.get() == comparison
        assert Comparison.objects.get().n_judgments == 0

    def test_a_change_is_kept_once_its_transaction_ends(self, kitchen):
        comparison = add_pair(kitchen)

        with transaction.atomic():
            store_tally(comparison.pk, 3, 1, True)
        connection.close()

        assert Comparison.objects.get().n_judgments == 3

    def test_what_a_constraint_forbids_is_an_integrity_error(self, kitchen, grace):
        with pytest.raises(IntegrityError, match="username"):
            insert_later(User(username=grace.username)).settle()

    def test_nothing_is_asked_in_a_transaction_that_failed(self, kitchen, grace):
        with transaction.atomic():
            with pytest.raises(IntegrityError):
                insert_later(User(username=grace.username)).settle()
            with pytest.raises(InternalError):
                list_strengths(1)
            transaction.set_rollback(True)

        assert list_strengths(1) == []

    def test_a_connection_the_server_ended_is_an_operational_error_once(self, kitchen):
        list_strengths(1)
        end_backend()

        with pytest.raises(OperationalError):
            list_strengths(1)
        connection.close_if_unusable_or_obsolete()

        assert list_strengths(1) == []

    def test_a_change_for_later_goes_with_the_next_statement(self, kitchen):
        comparison = add_pair(kitchen)

        with transaction.atomic():
            changing = store_tally.later(comparison.pk, 3, 1, True)
            missing = store_tally.later(0, 3, 1, True)
            assert (changing.heard, missing.heard) == (None, None)
            list_strengths(comparison.pk)
            assert (changing.heard, missing.heard) == (1, 0)

    def test_django_asks_behind_a_change_for_later(self, kitchen):
        comparison = add_pair(kitchen)

        with transaction.atomic():
            store_tally.later(comparison.pk, 3, 1, True)

            assert Comparison.objects.get().n_judgments == 3

    def test_who_asks_what_a_change_for_later_met_has_it_sent(self, kitchen):
        comparison = add_pair(kitchen)

        with transaction.atomic():
            assert store_tally.later(comparison.pk, 3, 1, True).n_met == 1

    def test_a_change_for_later_is_kept_with_its_transaction(self, kitchen):
        comparison = add_pair(kitchen)

        with transaction.atomic():
            changing = store_tally.later(comparison.pk, 3, 1, True)
        connection.close()

        assert (changing.n_met, Comparison.objects.get().n_judgments) == (1, 3)

    def test_a_change_for_later_is_forgotten_with_its_transaction(self, kitchen):
        comparison = add_pair(kitchen)

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            store_tally.later(comparison.pk, 3, 1, True)
            raise ZeroDivisionError

        assert Comparison.objects.get().n_judgments == 0

    def test_a_change_for_later_is_undone_with_its_savepoint_alone(self, kitchen):
        first, second = add_pair(kitchen), add_pair(kitchen, "What is a roux?")

        with transaction.atomic():
            store_tally.later(first.pk, 3, 1, True)
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                store_tally.later(second.pk, 3, 1, True)
                raise ZeroDivisionError

        assert list(Comparison.objects.order_by("pk").values_list("n_judgments", flat=True)) == [3, 0]

    def test_a_change_for_later_that_is_forbidden_ends_its_transaction_and_nothing_else(self, kitchen):
        comparison = add_pair(kitchen)

        with pytest.raises(IntegrityError, match="n_judgments"), transaction.atomic():
            store_tally.later(comparison.pk, -1, 0, False)
        store_tally(comparison.pk, 2, 0, False)

        assert Comparison.objects.get().n_judgments == 2

    def test_a_connection_that_ends_on_a_trip_is_an_operational_error_once(self, kitchen):
        comparison = add_pair(kitchen)

        with pytest.raises(OperationalError), transaction.atomic():
            list_strengths(comparison.pk)
            end_backend()
            store_tally.later(comparison.pk, 3, 1, True)
            list_strengths(comparison.pk)

        assert list_strengths(comparison.pk) == []

    def test_a_read_for_later_goes_with_the_next_statement_or_when_its_rows_are_wanted(self, grace, hedy):
        first, second = list_users.later(grace.pk), list_users.later(hedy.pk)
        waiting = find_prepared(connection.connection).later

        assert (len(waiting), list_strengths(1), first(), second()) == (2, [], [grace], [hedy])
        assert list_users.later(grace.pk)() == [grace]

    def test_a_row_for_later_has_its_key_once_it_is_sent(self, kitchen):
        with transaction.atomic():
            user = User(username="later")
            insert_later(user)
            assert user.pk is None

        assert User.objects.get(username="later").pk == user.pk

    def test_a_row_for_later_that_is_forbidden_ends_its_transaction(self, kitchen, grace):
        with pytest.raises(IntegrityError, match="username"), transaction.atomic():
            insert_later(User(username=grace.username))

        assert User.objects.filter(username=grace.username).count() == 1

    def test_moments_come_as_django_reads_them(self, kitchen):
        for moment in (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, 59, 120, tzinfo=UTC)):
            user = User(username=f"at-{moment.year}", date_joined=moment)
            insert_later(user).settle()
            (found,) = list_users(user.pk)

            assert (found.date_joined, found.date_joined.tzinfo) == (moment, UTC)
            assert User.objects.get(pk=user.pk).date_joined == moment


def end_backend() -> None:
    """Let the server end this connection, from another one."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()
