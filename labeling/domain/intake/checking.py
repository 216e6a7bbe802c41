"""What the worker does with an uploaded file: reads it to its end and says what it holds, and what is wrong with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Any

from django.core.files import File
from django.core.files.storage import default_storage
from django.utils.translation import gettext_noop as _

from labeling.domain.intake.detection import Format, find_format
from labeling.domain.intake.holding import Hold, begin_attempt, hold, local_file
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.reading import SourceFile
from labeling.domain.intake.refusals import FileRefused, FormatUnknown, Reason
from labeling.domain.intake.report import report_cause
from labeling.domain.intake.staging import StagedFile, count_known, stage_file
from labeling.domain.intake.storing import find_entered
from labeling.domain.intake.uploading import keep_columns
from labeling.models import Import, Project

N_BAD_KEPT = 100_000
N_REMEMBERED = 50


def check_import(pk: int) -> None:
    """Read an uploaded file to its end and say on its row what it holds, and what is wrong with it."""
    with hold(pk) as held:
        imported = Import.objects.select_related("project").filter(pk=pk, state=Import.State.UPLOADED).first()
        if held is None or imported is None or not begin_attempt(imported):
            return
        try:
            with tempfile.TemporaryFile("w+b") as log, local_file(imported.file) as path:
                look_into(imported, path, held, log)
        except FormatUnknown as error:
            end_check(imported, Import.State.CHECKED, {"columns": list(error.columns.items())}, format="")
        except FileRefused as error:
            report = keep_columns(imported.report) | report_cause(error.reason)
            end_check(imported, Import.State.REFUSED, report)


def look_into(imported: Import, path: Path, held: Hold, log: IO[bytes]) -> None:
    """Stage a file and write on its row what came of it. Raises: FileRefused, in words of the name it came under."""
    try:
        staged = stage_upload(imported, path, held, BadRowLog(log))
    except FormatUnknown:
        raise
    except FileRefused as error:
        raise error.name_file(str(path), imported.filename) from error
    report = keep_columns(imported.report) | describe(imported.project, staged)
    if staged.report.n_bad:
        report["bad_file"] = keep_bad_rows(imported, log)
    state = Import.State.REFUSED if "cause" in report else Import.State.CHECKED
    end_check(
        imported,
        state,
        report,
        sha256=staged.sha256,
        format=staged.format.name,
        n_rows=staged.report.n_rows,
    )


def stage_upload(imported: Import, path: Path, held: Hold, log: BadRowLog) -> StagedFile:
    """Stage a file in the format it is in: the one chosen, the one its mapping says, or what it looks like."""

    def hear_progress(source: SourceFile) -> None:
        held.tell(imported.report | {"progress": source.share_read})

    def stage(format: Format | None) -> StagedFile:
        return stage_file(path, format=format, hear_bad=log.add, hear_progress=hear_progress)

    if imported.mapping:
        return stage(Mapping.from_json(imported.mapping).to_format())
    try:
        return stage(find_format(imported.options.get("format", "")))
    except FormatUnknown as error:
        imported.report["columns"] = list(error.columns.items())  # databases do not keep the order of keys
        mapping = recall_mapping(imported.project, set(error.columns))
        if mapping is None:
            raise
        imported.mapping = mapping.to_json()
        Import.objects.filter(pk=imported.pk, state=Import.State.UPLOADED).update(mapping=imported.mapping)
        return stage(mapping.to_format())


def recall_mapping(project: Project, columns: set[str]) -> Mapping | None:
    """Return how the project's newest file with these very columns was mapped."""
    rows = Import.objects.filter(project=project).exclude(mapping={}).order_by("-pk")
    for kept, report in rows.values_list("mapping", "report")[:N_REMEMBERED]:
        if {name for name, _ in report.get("columns", ())} == columns:
            return Mapping.from_json(kept)
    return None


class BadRowLog:
    """Writes every bad row with its reason, for the person who will correct them."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.n = 0

    def add(self, line: int, reason: str) -> None:
        self.n += 1
        if self.n <= N_BAD_KEPT:
            self.file.write(f"{line}: {' '.join(reason.split())}\n".encode())
        elif self.n == N_BAD_KEPT + 1:
            self.file.write(b"and more\n")


def keep_bad_rows(imported: Import, log: IO[bytes]) -> str:
    name = f"{imported.file}.bad"
    default_storage.delete(name)
    log.seek(0)
    return default_storage.save(name, File(log))


def describe(project: Project, staged: StagedFile) -> dict[str, Any]:
    """Return the report of a file that could be read; "cause" where it cannot be imported all the same."""
    count_known(project, staged)
    report = staged.report.to_json() | {"uses_tags": staged.uses_tags}
    if staged.report.n_bad:
        report |= report_cause(
            Reason(_("Some rows are bad, so nothing of this file can be imported: correct them and upload it again."))
        )
    elif entered := find_entered(project, staged.sha256, staged.format.name):
        report |= report_cause(Reason(_("This very file has been imported before."))) | {"same_as": entered.pk}
    return report


def end_check(imported: Import, state: str, report: dict[str, Any], **fields: Any) -> None:
    """Write what came of a check, unless the columns were mapped otherwise or the file thrown away meanwhile."""
    waiting = Import.objects.filter(pk=imported.pk, state=Import.State.UPLOADED, mapping=imported.mapping)
    if not waiting.update(state=state, report=report, **fields) and "bad_file" in report:
        default_storage.delete(report["bad_file"])
