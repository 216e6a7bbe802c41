"""A file that came through the browser: kept under its hash until it is imported or thrown away, never under its name."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.doorbell import ring
from labeling.domain.errors import LabelingError
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.shutting import withdraw_rows
from labeling.domain.intake.storing import name_file, name_source
from labeling.models import Import, Project, User

UPLOAD_BYTES = 2 * 2**30
WAITING = (Import.State.UPLOADED, Import.State.CHECKED, Import.State.REFUSED)


class TooLate(LabelingError):
    """The import has gone on meanwhile: it is being stored, or was thrown away."""


def store_upload(project: Project, user: User, file: File[bytes], *, source: str = "", format: str = "") -> Import:
    """Keep a file, and ring for a worker to look into it; nothing of it is read here but its bytes for their hash.

    source: what its votes go by, default the file's name. format: "" lets the worker find out.
    """
    path = Path(file.name or "file")
    digest = hashlib.sha256()
    for block in file.chunks():
        digest.update(block)
    # One upload, one file: what is thrown away is nobody else's.
    stored = default_storage.save(f"imports/{digest.hexdigest()}-{uuid.uuid4().hex[:8]}", file)
    try:
        with transaction.atomic():
            imported = Import.objects.create(
                project=project,
                owner=user,
                source=source or name_source(path),
                filename=name_file(path),
                file=stored,
                state=Import.State.UPLOADED,
                options={"format": format},
            )
            record_event("import.upload", subject(imported), actor=user, project=project, after={"size": file.size})
            transaction.on_commit(lambda: ring("labeling.check_import", imported.pk))
    except BaseException:
        default_storage.delete(stored)
        raise
    return imported


def map_columns(imported: Import, mapping: Mapping) -> None:
    """Say what the columns of a file that waits are, and have it checked anew. Raises: TooLate."""
    with transaction.atomic():
        n_waiting = Import.objects.filter(pk=imported.pk, state__in=WAITING).update(
            state=Import.State.UPLOADED, mapping=mapping.to_json(), report=keep_columns(imported.report)
        )
        if not n_waiting:
            raise TooLate(_("This file is no longer waiting: it has been imported or thrown away."))
        withdraw_rows(imported)
        transaction.on_commit(lambda: ring("labeling.check_import", imported.pk))


def keep_columns(report: dict[str, Any]) -> dict[str, Any]:
    return {"columns": report["columns"]} if "columns" in report else {}


def discard_import(imported: Import, user: User) -> None:
    """Throw a file away that has not been imported. Raises: TooLate."""
    with transaction.atomic():
        waiting = Import.objects.select_for_update().filter(pk=imported.pk, state__in=WAITING).first()
        if waiting is None:
            raise TooLate(_("This file is being imported, so it cannot be thrown away any more."))
        record_event("import.discard", subject(waiting), actor=user, project=waiting.project)
        withdraw_rows(waiting)
        waiting.delete()
        transaction.on_commit(lambda: delete_files(waiting))


def delete_files(imported: Import) -> None:
    """Delete what lies in storage for an import that needs it no more."""
    for name in (imported.file, imported.report.get("bad_file", "")):
        if name:
            default_storage.delete(name)


def subject(imported: Import) -> str:
    return f"import {imported.pk}: {imported.filename}"
