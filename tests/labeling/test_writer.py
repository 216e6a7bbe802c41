"""SQLite has one writer: who waits for it in line is let in at once, and nobody waits there for ever."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from typing import IO

import pytest
from django.db import connection

from labeling import writer
from labeling.models import Project
from labeling.writer import hold_writer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def place() -> Iterator[IO[bytes]]:
    """Where writers of this database wait."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL locks rows")
    with open(f"{connection.settings_dict['NAME']}-writer", "ab") as file:
        yield file


def rename(to: str, *, is_patient: bool = False) -> None:
    try:
        with hold_writer(is_patient=is_patient):
            Project.objects.update(name=to)
    finally:
        connection.close()


@pytest.mark.parametrize("is_patient", [False, True])
def test_who_comes_second_waits_before_she_begins(place: IO[bytes], is_patient: bool) -> None:
    Project.objects.create(slug="p", name="made")
    second = threading.Thread(target=rename, args=("second",), kwargs={"is_patient": is_patient})

    fcntl.flock(place, fcntl.LOCK_EX)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    Project.objects.update(name="first")  # she has not even begun
    fcntl.flock(place, fcntl.LOCK_UN)
    second.join(20)

    assert Project.objects.get().name == "second"


def test_the_place_of_somebody_who_does_not_go_on_keeps_nobody_out(
    place: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    Project.objects.create(slug="p", name="made")
    monkeypatch.setattr(writer, "PATIENCE_S", 0.02)
    fcntl.flock(place, fcntl.LOCK_EX)

    rename("patient")

    assert Project.objects.get().name == "patient"


def test_whoever_looks_first_is_before_a_patient_one(place: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    Project.objects.create(slug="p", name="made")
    monkeypatch.setattr(writer, "SELDOM_S", 3.0)
    fcntl.flock(place, fcntl.LOCK_EX)
    patient = threading.Thread(target=rename, args=("patient",), kwargs={"is_patient": True})
    patient.start()
    patient.join(0.1)

    fcntl.flock(place, fcntl.LOCK_UN)
    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it does not look yet
    fcntl.flock(place, fcntl.LOCK_UN)
    patient.join(20)

    assert Project.objects.get().name == "patient"


def test_what_goes_wrong_is_taken_back_and_the_place_is_free(place: IO[bytes]) -> None:
    Project.objects.create(slug="p", name="made")

    with pytest.raises(ZeroDivisionError), hold_writer():
        Project.objects.update(name="wrong")
        1 / 0  # noqa: B018 -- it raises

    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert Project.objects.get().name == "made"


def test_within_a_transaction_nobody_waits(place: IO[bytes]) -> None:
    Project.objects.create(slug="p", name="made")

    with hold_writer(), hold_writer():
        Project.objects.update(name="twice")

    assert Project.objects.get().name == "twice"
