"""Connections that lay in the pool: what the server ended meanwhile is not handed out."""

from __future__ import annotations

import pytest
from django.db import connection

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def test_connections_the_server_ended_in_the_pool_are_not_handed_out():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no pool")
    held = [connection, connection.copy(), connection.copy()]
    for wrapper in held:
        wrapper.ensure_connection()
    pids = [wrapper.connection.info.backend_pid for wrapper in held]
    for wrapper in held[:2]:
        wrapper.close()
    with held[2].cursor() as cursor:
        cursor.execute("SELECT count(pg_terminate_backend(pid, 5000)) FROM unnest(%s) AS pid", [pids[:2]])

    for wrapper in held[:2]:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")

            assert cursor.fetchone() == (1,)
    assert {wrapper.connection.info.backend_pid for wrapper in held[:2]}.isdisjoint(pids)
    for wrapper in held[1:]:
        wrapper.close()
