"""One worker at a time on an uploaded file: a lease, a count of attempts, and the file on this machine's disk.

The row is the truth: a worker that is killed leaves it as it was, and the sweeper rings for it again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.core.files.storage import default_storage
from django.utils.translation import gettext_noop as _

from labeling.domain.doorbell import SWEEP_S, send_message
from labeling.domain.intake.refusals import FileRefused, Reason
from labeling.domain.intake.report import report_cause
from labeling.domain.intake.shutting import list_half_open, open_new
from labeling.models import Import

LEASE_S = 30
NEWS_S = 1.0
MAX_ATTEMPTS = 4
TASKS = {"uploaded": "labeling.check_import", "staged": "labeling.commit_import"}


@contextmanager
def hold(pk: int) -> Iterator[Hold | None]:
    """Hold an import against other workers under a lease; None when one of them has it.

    It spares double work and nothing more: what two workers do to one import comes to the same as what one does.
    """
    if not cache.add(f"import-{pk}", 1, LEASE_S):
        yield None
        return
    try:
        yield Hold(pk)
    finally:
        cache.delete(f"import-{pk}")


class Hold:
    """Renews the lease and tells the page how far the work is, once a second at most."""

    def __init__(self, pk: int) -> None:
        self.pk = pk
        self.told_s = 0.0

    def tell(self, report: dict[str, Any]) -> None:
        if time.monotonic() - self.told_s >= NEWS_S:
            self.told_s = time.monotonic()
            cache.touch(f"import-{self.pk}", LEASE_S)
            Import.objects.filter(pk=self.pk, state__in=["uploaded", "staged"]).update(report=report)


def begin_attempt(imported: Import) -> bool:
    """Count an attempt before the work, which may be what kills the worker; say whether there may be another."""
    attempts = imported.report.get("attempts", 0) + 1
    imported.report = imported.report | {"attempts": attempts}
    if attempts > MAX_ATTEMPTS:
        cause = report_cause(
            Reason(_("A worker died %(n)s times over this file; see the worker's log."), n=MAX_ATTEMPTS)
        )
        Import.objects.filter(pk=imported.pk, state=imported.state).update(
            state=Import.State.REFUSED, report=imported.report | cause
        )
        return False
    Import.objects.filter(pk=imported.pk, state=imported.state).update(report=imported.report)
    return True


@contextmanager
def local_file(name: str) -> Iterator[Path]:
    """Yield a stored file as one on this machine's disk. Raises: FileRefused when it is gone."""
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:  # the files are on another machine
        with tempfile.NamedTemporaryFile() as copy, default_storage.open(name) as stored:
            for block in stored.chunks():
                copy.write(block)
            copy.flush()
            yield Path(copy.name)
        return
    if not path.exists():
        raise FileRefused(_("The uploaded file is gone from the storage: upload it again."))
    yield path


def sweep_imports() -> None:
    """Ring for every uploaded or staged file that no worker holds, and open what a kill left shut."""
    for pk, state in Import.objects.filter(state__in=list(TASKS)).exclude(file="").values_list("pk", "state"):
        if cache.get(f"import-{pk}") is None:
            send_message(TASKS[state], pk, expires_s=SWEEP_S)
    for imported in list_half_open():
        open_new(imported)
