from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.db import connection

from config.celery import app
from tests.rlhf.conftest import judge, make_comparison, make_run

TREE = {"database": True, "broker": True, "disk": True}


def test_health_needs_no_database(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok")


@pytest.mark.database
def test_ready_says_each_check_and_leaves_no_row(client, db):
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": TREE, "learning_worker": False})
    assert not Session.objects.exists()


def test_a_read_only_database_is_not_ready(client, transactional_db):
    if connection.vendor != "sqlite":
        pytest.skip("the pragma is SQLite's")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            answer = client.get("/readyz")
        finally:
            cursor.execute("PRAGMA query_only = OFF")

    assert (answer.status_code, answer.json()["checks"]) == (503, TREE | {"database": False})


def test_a_broker_that_is_not_there_is_not_ready(client, db, monkeypatch):
    monkeypatch.setattr(app.conf, "broker_write_url", "redis+socket:///nowhere/redis.sock")

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["checks"]) == (503, TREE | {"broker": False})


def test_metrics_count_the_tables(client, project, labeler):
    make_run(project, kind="dpo", state="failed")
    make_run(project, kind="dpo", state="queued")
    judge(make_comparison(project), labeler)

    lines = client.get("/metrics").text.splitlines()

    assert 'prefloop_runs{kind="dpo",state="failed"} 1.0' in lines
    assert 'prefloop_runs{kind="dpo",state="queued"} 1.0' in lines
    assert "prefloop_judgments_total 1.0" in lines


@pytest.mark.parametrize(
    "environment",
    [{"REMOTE_ADDR": "203.0.113.9"}, {"HTTP_X_FORWARDED_FOR": "203.0.113.9"}, {"HTTP_FORWARDED": "for=203.0.113.9"}],
)
def test_metrics_are_for_this_machine_and_superusers(client, as_manager, as_admin, environment):
    statuses = [person.get("/metrics", **environment).status_code for person in (client, as_manager, as_admin)]

    assert statuses == [404, 404, 200]
