"""A request while no database answers, in a process whose DATABASE_URL leads nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError, ProgrammingError

from config.outage import OUT_OF_REACH, is_outage

ROOT = Path(__file__).parents[2]
NOWHERE = "postgres://nobody@127.0.0.1:1/nothing"
PROGRAM = """
import json, sys
import django
django.setup()
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "localhost"})
client.cookies["sessionid"] = "x" * 32
method, path = sys.argv[1:]
answer = getattr(client, method)(path, {}, content_type="application/json")
print(json.dumps([answer.status_code, answer.headers.get("Retry-After"), answer.content.decode()]))
"""


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/projects/"), ("get", "/judge/kitchen/"), ("get", "/api/v1/projects/"), ("post", "/api/v1/judgments/")],
)
def test_while_the_database_is_out_of_reach_the_answer_is_to_try_again(tmp_path, method: str, path: str):
    environment = os.environ | {"DATABASE_URL": NOWHERE, "PREFLOOP_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": ""}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, method, path], env=environment, capture_output=True, text=True, check=True
    )

    status, retry_after, body = json.loads(done.stdout.splitlines()[-1])
    assert (status, retry_after) == (503, "5")
    assert json.loads(body) == {"detail": OUT_OF_REACH} if path.startswith("/api/") else "out of reach" in body
    assert "Traceback" not in body


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("connection refused"), True),
        (OperationalError("database is locked"), True),
        (OperationalError("no such table: labeling_slot"), False),
        (ProgrammingError("relation does not exist"), False),
        (ValueError(), False),
        (None, False),
    ],
)
def test_what_will_not_pass_by_itself_is_no_outage(error: Exception | None, expected: bool):
    assert is_outage(error) is expected
