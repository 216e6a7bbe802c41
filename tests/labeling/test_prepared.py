"""Statements run through libpq alone: they fail as Django's do, and go through the transactions Django opens."""

import pytest
from django.db import IntegrityError, InternalError, OperationalError, connection, transaction

from labeling.domain.tallying import list_strengths, store_tally
from labeling.models import Comparison, User
from labeling.prepared import number_places
from labeling.statements import insert
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
            insert(User(username=grace.username))

    def test_nothing_is_asked_in_a_transaction_that_failed(self, kitchen, grace):
        with transaction.atomic():
            with pytest.raises(IntegrityError):
                insert(User(username=grace.username))
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


def end_backend() -> None:
    """Let the server end this connection, from another one."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()
