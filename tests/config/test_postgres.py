"""Connections that are kept from one request to the next: what the server ended meanwhile is not used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from labeling.domain.tallying import list_strengths
from labeling.prepared import find_prepared

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def kept() -> Iterator[BaseDatabaseWrapper]:
    """A connection of a thread whose request is over."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite is no server")
    usual, kept = connections["default"], connection.copy()
    kept.ensure_connection()
    connections["default"] = kept
    yield kept
    connections["default"] = usual
    kept.close()


def end_backend(pid: int) -> None:
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    other.close()


def test_a_connection_is_kept_from_one_request_to_the_next(kept):
    raw = kept.connection

    kept.close_if_unusable_or_obsolete()

    assert (list_strengths(1), kept.connection) == ([], raw)


@pytest.mark.parametrize("was_seen", [True, False])
def test_a_connection_the_server_ended_between_two_requests_is_not_used_again(kept, was_seen):
    pid = kept.connection.info.backend_pid
    if was_seen:
        assert kept.is_usable()
    end_backend(pid)

    kept.close_if_unusable_or_obsolete()

    assert list_strengths(1) == []
    assert kept.connection.info.backend_pid != pid


def test_a_transaction_begins_on_no_connection_the_server_ended(kept):
    end_backend(kept.connection.info.backend_pid)
    kept.close_if_unusable_or_obsolete()

    with kept.cursor() as cursor:
        cursor.execute("SELECT 1")

        assert cursor.fetchone() == (1,)


def test_nothing_that_waited_to_be_sent_outlives_its_request(kept):
    list_strengths.later(1)
    assert len(find_prepared(kept.connection).later) == 1

    kept.close_if_unusable_or_obsolete()

    assert find_prepared(kept.connection).later == []
