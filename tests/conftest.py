"""Every test's house: a home of its own, plain static files, and a broker that lives and dies with the process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import hypothesis
import pytest

# Before Django reads its settings: no test touches the installation in ./var, and nothing rings at a real broker.
# The settings are named here and not in pyproject.toml, for pytest-django would read those before it reads this file.
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
os.environ["PREFLOOP_HOME"] = tempfile.mkdtemp(prefix="prefloop-tests-")
atexit.register(shutil.rmtree, os.environ["PREFLOOP_HOME"], ignore_errors=True)
os.environ["CELERY_BROKER_URL"] = "memory://"
# A busy machine draws slowly: that says nothing of the code.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")
django.setup()  # a conftest below may import models

from labeling.domain.front import forget_fronts  # noqa: E402 -- its models need Django set up
from labeling.domain.idling import forget_walks  # noqa: E402 -- as above
from labeling.domain.turns import RNG  # noqa: E402 -- its models need Django set up
from rlhf.domain.listening import listen_again  # noqa: E402 -- its models need Django set up


@pytest.fixture(autouse=True)
def no_run_folders_of_other_tests() -> Iterator[None]:
    """A test's rows are rolled back, so ids come again; the folders named after them must not."""
    yield
    for name in ("runs", "models"):
        shutil.rmtree(os.path.join(os.environ["PREFLOOP_HOME"], name), ignore_errors=True)


@pytest.fixture(autouse=True)
def chance_keeps_out() -> None:
    """The first claims of a test are by the project's own order: neither the random share's, nor probes."""
    RNG.seed(200472)


@pytest.fixture(autouse=True)
def nobody_has_walked_the_queue() -> None:
    """What the process remembers of labelers and of projects is of another test's, whose ids come again."""
    forget_walks()
    forget_fronts()
    listen_again()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--images", default="", help="the folder the README's pictures are written to")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with modules of long tests, for at the end one worker would wait for another's."""
    folders = ("tests/rlhf/learning/", "tests/browser/", "tests/")

    long = {item.path for item in items if item.get_closest_marker("faults")}

    def come_first(item: pytest.Item) -> tuple[bool, int]:
        place = next((n for n, folder in enumerate(folders) if item.nodeid.startswith(folder)), len(folders))
        return item.path not in long, place

    items.sort(key=come_first)


def pytest_configure() -> None:
    """Serve static files from where they lie, hash passwords fast, and keep SQLite in a file as installations do.

    An SQLite database in memory locks tables where one in a file queues its writers: threads would fail only in tests.
    """
    from django.conf import settings  # noqa: PLC0415 -- reads the environment set above

    # A parallel worker's settings were read under its parent's environment: give it a home of its own.
    settings.PREFLOOP_HOME = Path(os.environ["PREFLOOP_HOME"])
    settings.STORAGES["default"]["OPTIONS"]["location"] = str(settings.PREFLOOP_HOME / "files")
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = os.path.join(os.environ["PREFLOOP_HOME"], "test.sqlite3")
