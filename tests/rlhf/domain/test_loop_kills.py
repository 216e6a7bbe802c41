"""A loop goes on by itself whichever process is killed at whichever moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.faults]

ROOT = Path(__file__).parent.parent.parent.parent
# Every fifth write of a round; 1 tries them all.
STEP = int(os.environ.get("LOOP_KILLS_STEP", "5"))


def test_a_round_killed_at_any_write_ends_as_if_nothing_had_happened(tmp_path):
    drop = ("DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    environment |= {"PREFLOOP_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.rlhf.domain.kill_script", str(STEP)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )

    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert outcomes, done.stderr
    *killed, unharmed = outcomes
    assert (unharmed.pop("is_killed"), len(killed) > 5) == (False, True)
    unharmed.pop("die_at")
    assert unharmed["rounds"] == [[1, "succeeded", "promoted", 6]]
    for outcome in killed:
        die_at = outcome.pop("die_at")
        assert (outcome.pop("is_killed"), outcome) == (True, unharmed), f"killed at write {die_at}"
