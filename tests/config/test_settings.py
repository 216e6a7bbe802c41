"""A start with junk in the environment stops and says what was wanted; each start is a process of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# What a developer's .env may say is cut off by naming every variable, empty: empty is unset.
NAMES = (
    *("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "PORT", "WEB_CONCURRENCY", "DATABASE_URL"),
    *("CELERY_BROKER_URL", "METRICS_TOKEN"),
)
SHOWN = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASES", "CELERY_BROKER_URL", "USES_BUNDLED_REDIS", "PORT")
START = f"""
import json, django
django.setup()
from django.conf import settings
print(json.dumps({{name: getattr(settings, name) for name in {SHOWN!r}}}))
"""


def start(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | dict.fromkeys(NAMES, "") | {"PREFLOOP_HOME": str(home)} | variables
    command = [sys.executable, "-c", START]
    return subprocess.run(command, cwd=ROOT, env=environment, umask=0o022, capture_output=True, text=True, check=False)


def test_a_start_without_settings_works_and_keeps_its_secrets(tmp_path):
    home = tmp_path / "new" / "home"

    first, again = start(home), start(home)

    assert (first.returncode, first.stderr) == (0, "")
    said = json.loads(first.stdout)
    assert said["DATABASES"]["default"]["NAME"] == str(home / "prefloop.sqlite3")
    assert said["CELERY_BROKER_URL"] == f"redis+socket://{home}/redis.sock"
    assert (said["USES_BUNDLED_REDIS"], said["PORT"]) == (True, 8000)
    assert said["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert again.stdout == first.stdout
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "secret_key").stat().st_mode) == 0o600


def test_a_start_with_good_settings_works(tmp_path):
    answer = start(
        tmp_path,
        SECRET_KEY="kH3fjw0qZ8rT5mXc7vBn1LpYd6sGa9Qe",
        ALLOWED_HOSTS="label.example.org, .example.net,[::1]",
        CSRF_TRUSTED_ORIGINS="https://label.example.org,https://*.example.net:8443",
        DATABASE_URL="postgres://user:p%40ss@db.example.org:5433/name",
        CELERY_BROKER_URL="amqp://user:word@mq.example.org:5672//;redis://cache.example.org:6379/0",
        METRICS_TOKEN="kept-by-prometheus",
        PORT="8080",
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    said = json.loads(answer.stdout)
    database = said["DATABASES"]["default"]
    assert [database[part] for part in ("USER", "PASSWORD", "HOST", "PORT", "NAME")] == [
        *("user", "p@ss", "db.example.org", 5433, "name")
    ]
    assert said["ALLOWED_HOSTS"] == ["label.example.org", ".example.net", "[::1]"]
    assert said["CSRF_TRUSTED_ORIGINS"] == ["https://label.example.org", "https://*.example.net:8443"]
    assert (said["USES_BUNDLED_REDIS"], said["PORT"]) == (False, 8080)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("DEBUG", "yes", "use True or False"),
        ("SECRET_KEY", "short", "at least 32 random characters"),
        ("ALLOWED_HOSTS", "*", "name the hosts this server answers to"),
        ("ALLOWED_HOSTS", ",", "like label.example.org"),
        ("ALLOWED_HOSTS", "https://label.example.org", "like label.example.org"),
        ("CSRF_TRUSTED_ORIGINS", "label.example.org", "like https://label.example.org"),
        ("PORT", "abc", "a whole number from 1 to 65535"),
        ("WEB_CONCURRENCY", "0", "a whole number from 1 to 64"),
        ("DATABASE_URL", "banana", "use sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME"),
        ("DATABASE_URL", "postgres://", "use sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME"),
        ("CELERY_BROKER_URL", "banana", "redis://, rediss://, redis+socket://, amqp://, amqps://, memory://"),
        ("METRICS_TOKEN", "short", "at least 16 ASCII characters"),
    ],
)
def test_junk_stops_the_start_and_hears_what_was_wanted(tmp_path, name, text, wanted):
    answer = start(tmp_path, **{name: text})

    last_line = answer.stderr.splitlines()[-1]
    assert (answer.returncode, answer.stdout) == (1, "")
    assert last_line.startswith("django.core.exceptions.ImproperlyConfigured: " + name)
    assert wanted in last_line
