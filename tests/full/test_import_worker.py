"""A large import through the real worker, which is killed half-way: every row enters once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.full.house import House

pytestmark = [pytest.mark.full, pytest.mark.faults]

N_ROWS = 3000
UPLOAD = """
import sys
import django; django.setup()
from django.core.files.base import ContentFile
from labeling.domain.intake.uploading import store_upload
from labeling.models import Project, User
project = Project.objects.create(slug="kitchen", name="Kitchen")
store_upload(project, User.objects.create_superuser("ada"), ContentFile(open(sys.argv[1], "rb").read(), "pairs.jsonl"))
"""
COMMIT = """
import django; django.setup()
from labeling.domain.intake.committing import request_commit
from labeling.domain.intake.storing import Placement
from labeling.models import Import, User
request_commit(Import.objects.get(), User.objects.get(username="ada"), Placement(overlap=1))
"""
COUNT = """
SELECT (SELECT state FROM labeling_import), COUNT(*), COUNT(DISTINCT line),
       (SELECT COUNT(*) FROM labeling_comparison), (SELECT COUNT(*) FROM labeling_slot)
FROM labeling_importedjudgment
"""


@pytest.fixture
def house():
    home = Path(tempfile.mkdtemp(prefix="house-"))
    house = House(home)
    yield house
    house.end()
    shutil.rmtree(home, ignore_errors=True)


def wait_until(house: House, comes: Callable[[str, int], bool]) -> tuple:
    """Wait until the import's state and its number of rows are so; return all that is counted."""
    deadline = time.monotonic() + 600
    while not comes(*(said := house.read(COUNT)[0])[:2]):
        assert time.monotonic() < deadline, f"the import stands still: {said}"
        time.sleep(0.1)
    return said


def test_a_worker_killed_half_way_loses_and_doubles_nothing(house, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = ({"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(N_ROWS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    house.start("--no-demo")  # which would train meanwhile
    house.python("-c", UPLOAD, str(file))
    wait_until(house, lambda state, _: state == "checked")
    house.python("-c", COMMIT)
    wait_until(house, lambda _, n: n >= 500)

    (worker,) = [pid for pid in house.pids() if b"default@" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    left, n_left, *_ = house.read(COUNT)[0]
    done = wait_until(house, lambda state, _: state == "committed")

    assert (left, n_left < N_ROWS) == ("staged", True)
    assert done == ("committed", *[N_ROWS] * 4)
    assert house.stop() == 0
