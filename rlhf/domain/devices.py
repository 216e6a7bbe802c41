"""The GPUs of this host: which there are, and that no two runs have one at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from rlhf.contract.config import SHARED_KINDS
from rlhf.models import Device, Run

DRIVER = Path("/proc/driver/nvidia/gpus")  # one folder a GPU; nothing has to be asked, and torch is not loaded here


def list_devices() -> list[str]:
    """Return the GPUs that runs of this host may use, as CUDA_VISIBLE_DEVICES names them; none where a CPU learns."""
    if settings.LEARNING_DEVICES:
        return list(settings.LEARNING_DEVICES)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [str(number) for number in range(len(list(DRIVER.iterdir())))] if DRIVER.is_dir() else []


def count_needed(kind: str) -> int:
    """Return how many GPUs of this host a run of a kind takes: one a process, all where accelerate's configuration decides.

    A kind that processes cannot share is one.
    """
    n_devices = len(list_devices())
    if kind in SHARED_KINDS and settings.LEARNING_ACCELERATE_CONFIG:
        return n_devices
    return min(settings.LEARNING_PROCESSES if kind in SHARED_KINDS else 1, n_devices)


def count_runs_at_once() -> int:
    """Return how many runs this host learns from at most at once: one a GPU, one where it has none."""
    return max(1, len(list_devices()))


def count_free() -> int:
    """Return how many GPUs of this host are nobody's. Without a lock: another worker may be faster."""
    return len(list_devices()) - _taken().count()


def has_room(kind: str) -> bool:
    """Say whether a run of a kind would find the GPUs it needs."""
    return count_free() >= count_needed(kind)


@transaction.atomic
def take_devices(run: Run) -> list[str] | None:
    """Return the names of the GPUs that are the claimed run's from now on, [] on a host without; None if too few are free.

    They need not be given back: who no longer works on the run, or has lost its lease, has lost them.
    """
    names, n_wanted = list_devices(), count_needed(run.kind)
    if not names:
        return []
    host = socket.gethostname()
    Device.objects.bulk_create((Device(host=host, name=name) for name in names), ignore_conflicts=True)
    rows = list(Device.objects.select_for_update().filter(host=host, name__in=names).order_by("pk"))
    _fence_lapsed(rows)
    taken = set(_taken().values_list("pk", flat=True))
    free = [row.pk for row in rows if row.pk not in taken][:n_wanted]
    if len(free) < n_wanted:
        return None
    Device.objects.filter(pk__in=free).update(run=run, attempt=run.attempt)
    return [row.name for row in rows if row.pk in free]


def _fence_lapsed(rows: list[Device]) -> None:
    """Queue the runs again whose lease ran out while they had one of these GPUs: a worker that wakes up has lost its run."""
    lapsed = Run.objects.filter(pk__in={row.run_id for row in rows if row.run_id}, state=Run.State.RUNNING)
    lapsed.filter(lease_until__lt=Now()).update(
        state=Run.State.QUEUED, lease_until=None, stage="waiting for a worker", eta_s=None
    )


def _taken() -> QuerySet[Device]:
    """Return the GPUs of this host whose run is being worked on by whoever took them."""
    working = Q(run__state=Run.State.RUNNING, run__attempt=F("attempt"), run__lease_until__gte=Now())
    return Device.objects.filter(working, host=socket.gethostname(), name__in=list_devices())
