"""An export's life: queued -> running -> ready -> expired, or failed; moved by conditional updates only.

The row is the truth and a message rings for it, as for runs; each write of a worker carries the attempt it claimed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import IO, Any

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from labeling.domain.audit import record_event
from labeling.domain.doorbell import SWEEP_S, ring, send_message
from labeling.models import Project, User
from rlhf.contract.errors import ContractError
from rlhf.domain.datasets.bytes import BLOCK_BYTES
from rlhf.domain.datasets.export import check_format
from rlhf.domain.datasets.package import package_dataset, package_judgments
from rlhf.domain.datasets.shelf import sha256_of
from rlhf.domain.errors import LearningError, LostLease
from rlhf.models import Dataset, Export

LEASE = timedelta(seconds=60)
RENEW_S = 5.0
KEPT = timedelta(days=7)
JUDGMENT_FORMATS = ("judgments", "csv")

Row = dict[str, Any]


class ExportGone(LearningError):
    """The file was there once and is not any more."""


def request_dataset_export(dataset: Dataset, user: User, *, format: str, split: str) -> Export:
    """Queue a dataset's export. Raises: ExportRefused when the format has no rows for it."""
    check_format(dataset, format)
    return request_export(dataset.project, user, dataset=dataset, format=format, options={"split": split})


def request_judgment_export(project: Project, user: User, *, format: str, with_notes: bool) -> Export:
    """Queue the export of a project's judgments."""
    return request_export(project, user, dataset=None, format=format, options={"with_notes": with_notes})


def request_export(
    project: Project, user: User, *, dataset: Dataset | None, format: str, options: dict[str, Any]
) -> Export:
    """Store what is asked for, with a line in the audit trail, and ring for it once that is committed."""
    with transaction.atomic():
        export = Export.objects.create(
            project=project, dataset=dataset, format=format, options=options, created_by=user
        )
        asked = {"format": format, "dataset": dataset.pk if dataset else None, **options}
        record_event("export.request", export, actor=user, project=project, after=asked)
        transaction.on_commit(lambda: ring("rlhf.write_export", export.pk))
    return export


def write_export(pk: int) -> None:
    """Write an export's file, if nobody else does, and say what came of it."""
    export = claim_export(pk)
    if export is None:
        return
    lease = Lease(export)
    with tempfile.TemporaryFile() as file:
        try:
            filename = package(export, file, lease)
            keep_file(export, file, filename=filename, n_rows=lease.n_rows)
        except LostLease:
            return  # whoever has it now writes it
        except (LearningError, ContractError, OSError) as error:
            fail_export(export, str(error))


def claim_export(pk: int) -> Export | None:
    """Take the export if nobody works on it, raising its attempt; None when someone was first or it is over."""
    claimable = Export.objects.claimable().filter(pk=pk, attempt__lt=Export.MAX_ATTEMPTS)
    with transaction.atomic():
        n_claimed = claimable.update(
            state=Export.State.RUNNING, attempt=F("attempt") + 1, lease_until=Now() + LEASE, cause=""
        )
        return Export.objects.select_related("project", "dataset").get(pk=pk) if n_claimed else None


class Lease:
    """Counts the rows that pass and renews the lease beside them."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.n_rows = 0
        self.renewed_s = time.monotonic()

    def watch(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Pass rows on. Raises: LostLease."""
        for row in rows:
            self.n_rows += 1
            if self.n_rows % 200 == 0 and time.monotonic() - self.renewed_s > RENEW_S:
                self.renew()
            yield row

    def renew(self) -> None:
        self.renewed_s = time.monotonic()
        held = Export.objects.held(self.export.attempt).filter(pk=self.export.pk)
        if not held.update(lease_until=Now() + LEASE, n_rows=self.n_rows):
            raise LostLease(f"{self.export} is no longer attempt {self.export.attempt}")


def package(export: Export, file: IO[bytes], lease: Lease) -> str:
    """Write what the export is of into a file and return the name to give it."""
    if export.dataset is not None:
        split = export.options["split"]
        return package_dataset(export.dataset, format=export.format, split=split, target=file, hear=lease.watch)
    with_notes = export.options["with_notes"]
    return package_judgments(export.project, format=export.format, with_notes=with_notes, target=file, hear=lease.watch)


def keep_file(export: Export, file: IO[bytes], *, filename: str, n_rows: int) -> None:
    """Put the file into storage and make the export ready; what came too late is taken out again."""
    digest, size = hashlib.sha256(), file.seek(0, os.SEEK_END)
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    file.seek(0)
    stored = default_storage.save(f"exports/{export.pk}-{uuid.uuid4().hex}", File(file))
    try:
        end_export(
            export,
            state=Export.State.READY,
            file=stored,
            filename=filename,
            sha256=digest.hexdigest(),
            size=size,
            n_rows=n_rows,
            expires_at=timezone.now() + KEPT,
        )
    except BaseException:
        default_storage.delete(stored)
        raise


def end_export(export: Export, **fields: Any) -> None:
    """Give the export what came of it. Raises: LostLease."""
    held = Export.objects.held(export.attempt).filter(pk=export.pk)
    if not held.update(finished_at=timezone.now(), lease_until=None, **fields):
        raise LostLease(f"{export} is no longer attempt {export.attempt}")


def fail_export(export: Export, cause: str) -> None:
    """End the export with the reason, unless it is someone else's by now."""
    try:
        end_export(export, state=Export.State.FAILED, cause=cause)
    except LostLease:
        return


def open_export(export: Export, user: User) -> File[bytes]:
    """Open a ready export's file, with a line in the audit trail. Raises: ExportGone when its time is over."""
    is_over = export.expires_at is not None and export.expires_at <= timezone.now()
    if export.state == Export.State.EXPIRED or is_over:
        raise ExportGone(f"{export} was kept for {KEPT.days} days and is gone: ask for it again")
    try:
        file = default_storage.open(export.file)
    except FileNotFoundError as error:
        raise ExportGone(f"the file of {export} is gone from the storage: ask for it again") from error
    record_event("export.download", export, actor=user, project=export.project, after={"sha256": export.sha256})
    return file


def record_download(dataset: Dataset, user: User, *, split: str, format: str) -> None:
    """Write down in the audit trail that someone fetches a split as it lies on the shelf.

    Unlike an export's file it does not expire: it is there as long as its dataset is, for those who may see that.
    """
    asked = {"split": split, "format": format, "sha256": sha256_of(dataset, split)}
    record_event("dataset.download", dataset, actor=user, project=dataset.project, after=asked)


def sweep_exports() -> None:
    """Ring for every export nobody works on, give up those no worker survives, and take away what has had its time."""
    for export in Export.objects.claimable():
        if export.attempt < Export.MAX_ATTEMPTS:
            send_message("rlhf.write_export", export.pk, expires_s=SWEEP_S)
            continue
        cause = f"its worker vanished {Export.MAX_ATTEMPTS} times; see the worker's log"
        Export.objects.claimable().filter(pk=export.pk, attempt=export.attempt).update(
            state=Export.State.FAILED, cause=cause, finished_at=timezone.now(), lease_until=None
        )
    for export in Export.objects.filter(state=Export.State.READY, expires_at__lte=Now()):
        default_storage.delete(export.file)
        Export.objects.filter(pk=export.pk, state=Export.State.READY).update(state=Export.State.EXPIRED, file="")
