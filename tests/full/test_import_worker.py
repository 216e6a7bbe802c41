"""A large import through the real worker, which is killed half-way: every row enters once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.full.test_full_circle import House

pytestmark = [pytest.mark.full, pytest.mark.faults]

N_ROWS = 6000
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
import django; django.setup()
from django.db.models import Count
from labeling.models import Comparison, Import, ImportedJudgment, Slot
rows = ImportedJudgment.objects.aggregate(n=Count("pk"), lines=Count("line", distinct=True))
print(Import.objects.get().state, rows["n"], rows["lines"], Comparison.objects.count(), Slot.objects.count())
"""


@pytest.fixture
def house():
    home = Path(tempfile.mkdtemp(prefix="house-"))
    house = House(home)
    yield house
    for pid in house.pids():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


def wait_for(house: House, word: str, within_s: float) -> list[str]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        said = house.python("-c", COUNT).split()
        if said[0] == word or (word.isdigit() and int(said[1]) >= int(word)):
            return said
        time.sleep(0.2)
    raise AssertionError(f"the import never came to {word}: {said}")


def test_a_worker_killed_half_way_loses_and_doubles_nothing(house, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = ({"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(N_ROWS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    house.start()
    house.python("-c", UPLOAD, str(file))
    wait_for(house, "checked", 600)
    house.python("-c", COMMIT)
    wait_for(house, "500", 600)

    (worker,) = [pid for pid in house.pids() if b"default@" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    left = house.python("-c", COUNT).split()
    done = wait_for(house, "committed", 600)

    assert (left[0], int(left[1]) < N_ROWS) == ("staged", True)
    assert done == ["committed", *[str(N_ROWS)] * 4]
    assert house.stop() == 0
