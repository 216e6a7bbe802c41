from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from config.celery import app
from tests.rlhf.conftest import judge, make_comparison, make_run

TOKEN = "kept-by-prometheus"
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


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_probes_are_answered_whatever_host_they_ask_for(client, db, settings, address):
    settings.ALLOWED_HOSTS = ["label.example.org"]

    statuses = [client.get(path, HTTP_HOST="10.0.0.7:8000").status_code for path in (address, "/metrics")]

    assert statuses == [200, 400]


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_probes_and_scrapers_need_no_tls(db, settings, address):
    settings.SECURE_SSL_REDIRECT = True
    settings.METRICS_TOKEN = TOKEN

    probe, scrape = Client().get(address), Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (probe.status_code, scrape.status_code, Client().get("/").status_code) == (200, 200, 301)


def test_a_probe_changes_nothing(client):
    assert [client.post(address).status_code for address in ("/healthz", "/readyz")] == [405, 405]


def test_metrics_count_the_tables(as_admin, project, labeler):
    make_run(project, kind="dpo", state="failed")
    make_run(project, kind="dpo", state="queued")
    judge(make_comparison(project), labeler)

    lines = as_admin.get("/metrics").text.splitlines()

    assert 'prefloop_runs{kind="dpo",state="failed"} 1.0' in lines
    assert 'prefloop_runs{kind="dpo",state="queued"} 1.0' in lines
    assert "prefloop_judgments_total 1.0" in lines


def test_metrics_are_for_superusers(client, as_labeler, as_manager, as_admin):
    statuses = [person.get("/metrics").status_code for person in (client, as_labeler, as_manager, as_admin)]

    assert statuses == [404, 404, 404, 200]


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 404),
        (f"Bearer {TOKEN[:-1]}", 404),
        (f"Basic {TOKEN}", 404),
        ("Bearer caf\xe9", 404),
        ("Bearer ", 404),
        ("Bearer", 404),
        (TOKEN, 404),
    ],
)
def test_a_scraper_shows_the_token(client, db, settings, authorization, expected):
    settings.METRICS_TOKEN = TOKEN

    assert client.get("/metrics", headers={"Authorization": authorization}).status_code == expected


@pytest.mark.parametrize("authorization", ["Bearer ", "Bearer", ""])
def test_an_unset_token_is_nobodys(client, db, settings, authorization):
    settings.METRICS_TOKEN = ""

    assert client.get("/metrics", headers={"Authorization": authorization}).status_code == 404
