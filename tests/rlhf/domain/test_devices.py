"""Who has which GPU: the rows of a host's devices, asked by several workers at once."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from django.db import connection
from django.utils import timezone

from labeling.models import Project
from rlhf.contract.config import CONFIGS, SHARED_KINDS
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.settings import RunConfig
from rlhf.domain import devices, runs
from rlhf.domain.devices import count_needed, count_runs_at_once, has_room, list_devices, take_devices
from rlhf.domain.errors import LostLease
from rlhf.models import Device, Run

pytestmark = pytest.mark.django_db


def claim(name: str, config: RunConfig = PretrainConfig()) -> Run:
    """Return a claimed run of a project of its own."""
    project = Project.objects.create(slug=name, name=name)
    run = runs.claim_run(runs.create_run(project, config).pk)
    assert run is not None
    return run


def test_two_runs_never_have_the_same_gpu_and_a_third_finds_none(settings):
    settings.LEARNING_DEVICES = ["0", "GPU-7"]

    taken = [take_devices(claim(name)) for name in ("one", "two", "three")]

    assert taken == [["0"], ["GPU-7"], None]
    assert not has_room("pretrain")


def test_a_run_of_several_processes_has_a_gpu_for_each(settings):
    settings.LEARNING_DEVICES, settings.LEARNING_PROCESSES = ["0", "1", "2"], 2

    assert take_devices(claim("one")) == ["0", "1"]
    assert take_devices(claim("two")) is None


@pytest.mark.parametrize("kind", sorted(CONFIGS.keys() - set(SHARED_KINDS)))
@pytest.mark.parametrize("launcher", [{}, {"LEARNING_ACCELERATE_CONFIG": "fsdp2.yaml"}], ids=["processes", "file"])
def test_a_run_of_one_process_has_one_gpu_whatever_others_take(kind: str, launcher: dict[str, str], settings):
    settings.LEARNING_DEVICES, settings.LEARNING_PROCESSES = ["0", "1", "2"], 2
    for name, value in launcher.items():
        setattr(settings, name, value)

    assert take_devices(claim("one", CONFIGS[kind]())) == ["0"]
    assert take_devices(claim("two", CONFIGS[kind]())) == ["1"]

    assert (has_room(kind), has_room("dpo")) == (True, False)
    assert count_runs_at_once() == 3


@pytest.mark.parametrize("how", ["it is over", "it waits for another attempt", "its lease ran out"])
def test_a_run_nobody_works_on_has_no_gpu_any_more(how: str, settings):
    settings.LEARNING_DEVICES = ["0"]
    run = claim("one")
    take_devices(run)

    if how == "it is over":
        runs.end_run(run, Run.State.SUCCEEDED)
    elif how == "it waits for another attempt":
        runs.hand_back_run(run)
    else:
        Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() - runs.LEASE)

    assert has_room("pretrain")
    assert take_devices(claim("two")) == ["0"]


def test_a_worker_that_wakes_up_after_its_gpu_went_to_another_run_has_lost_its_own(settings):
    settings.LEARNING_DEVICES = ["0"]
    frozen = claim("one")
    take_devices(frozen)
    Run.objects.filter(pk=frozen.pk).update(lease_until=timezone.now() - runs.LEASE)

    assert take_devices(claim("two")) == ["0"]

    with pytest.raises(LostLease):
        runs.renew_lease(frozen)
    assert runs.claim_run(frozen.pk).attempt == 2


def test_the_attempt_that_works_has_the_gpu_and_not_the_one_before(settings):
    settings.LEARNING_DEVICES = ["0"]
    first = claim("one")
    take_devices(first)
    runs.hand_back_run(first)
    again = runs.claim_run(first.pk)

    assert has_room("pretrain")
    assert take_devices(again) == ["0"]
    assert not has_room("pretrain")


def test_another_hosts_gpu_of_the_same_name_is_another_one(settings, monkeypatch):
    settings.LEARNING_DEVICES = ["0"]
    take_devices(claim("one"))

    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")

    assert take_devices(claim("two")) == ["0"]
    assert Device.objects.count() == 2


def test_a_host_without_gpus_takes_none_and_has_room(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")

    assert (list_devices(), count_needed("dpo"), count_needed("sample"), count_runs_at_once()) == ([], 0, 0, 1)
    assert has_room("dpo")
    assert take_devices(claim("one")) == []


def test_the_gpus_are_those_of_the_driver_unless_the_environment_names_some(monkeypatch, tmp_path):
    for folder in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(devices, "DRIVER", tmp_path)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert list_devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-7")
    assert list_devices() == ["1", "GPU-7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list_devices() == []


@pytest.fixture
def rung(monkeypatch) -> list[int]:
    """The runs that were rung for, by their numbers, instead of the broker's messages."""
    rung: list[int] = []
    monkeypatch.setattr(runs, "ring", lambda task, pk: rung.append(pk))
    return rung


def queue(name: str, config: RunConfig = PretrainConfig()) -> int:
    """Return the number of a queued run of a project that may be there."""
    project, _ = Project.objects.get_or_create(slug=name, defaults={"name": name})
    return runs.create_run(project, config).pk


def test_every_free_gpu_is_rung_for_when_a_run_is_over(settings, rung):
    settings.LEARNING_DEVICES = ["0", "1", "2"]
    take_devices(claim("busy"))
    waiting = [queue(name) for name in ("one", "two", "three")]

    runs.ring_next()

    assert rung == waiting[:2]


def test_a_run_that_waits_for_its_kind_or_for_more_gpus_does_not_keep_others_from_the_free_ones(settings, rung):
    settings.LEARNING_DEVICES, settings.LEARNING_PROCESSES = ["0", "1", "2"], 2
    take_devices(claim("busy"))
    queue("busy")
    queue("large", DPOConfig())
    sampling = queue("busy", SampleConfig())
    queue("busy", SampleConfig())

    runs.ring_next()

    assert rung == [sampling]


def test_on_a_host_without_gpus_the_first_run_that_may_start_is_rung_for(monkeypatch, tmp_path, rung):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    claim("busy")
    queue("busy")
    waiting = [queue(name) for name in ("one", "two")]

    runs.ring_next()

    assert rung == waiting[:1]


@pytest.mark.django_db(transaction=True)
def test_of_twenty_runs_on_one_gpu_no_two_are_there_at_once(settings):
    settings.LEARNING_DEVICES = ["0"]
    projects = [Project.objects.create(slug=f"p{number}", name="P") for number in range(20)]
    waiting = [runs.create_run(project, PretrainConfig()).pk for project in projects]
    there, most, lock = set(), [], threading.Lock()

    def work() -> None:
        try:
            while Run.objects.filter(state=Run.State.QUEUED).exists():
                for pk in waiting:
                    run = runs.claim_run(pk)
                    if run is None:
                        continue
                    if take_devices(run) is None:
                        runs.hand_back_run(run)
                        continue
                    with lock:
                        there.add(pk)
                        most.append(len(there))
                    time.sleep(0.01)
                    with lock:
                        there.discard(pk)
                    runs.end_run(run, Run.State.SUCCEEDED)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert most == [1] * 20
