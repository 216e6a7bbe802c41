"""What becomes of a checked file once someone decided to import it: stored by the worker, a short transaction at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from labeling.domain.audit import record_event
from labeling.domain.doorbell import ring
from labeling.domain.errors import LabelingError
from labeling.domain.intake.detection import find_format
from labeling.domain.intake.digests import Digests
from labeling.domain.intake.holding import begin_attempt, hold, local_file
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.reading import SourceFile
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.intake.report import Report, report_cause
from labeling.domain.intake.shutting import withdraw_rows
from labeling.domain.intake.staging import StagedFile
from labeling.domain.intake.storing import Placement, store_file
from labeling.domain.intake.uploading import delete_files, subject
from labeling.models import Import, User


class NotImportable(LabelingError):
    """The file is not one that can be imported as it is; the message says why."""


def request_commit(imported: Import, user: User, placement: Placement) -> None:
    """Have a checked file stored. Raises: NotImportable."""
    if imported.state != Import.State.CHECKED or not imported.format:
        raise NotImportable(_("Only a file that was checked and has no bad row can be imported."))
    try:
        with transaction.atomic():
            n_staged = Import.objects.filter(
                pk=imported.pk, state=Import.State.CHECKED, format=imported.format, mapping=imported.mapping
            ).update(state=Import.State.STAGED, options=imported.options | vars(placement))
            if not n_staged:
                raise NotImportable(_("This file has gone on meanwhile: look at it again."))
            record_event(
                "import.commit", subject(imported), actor=user, project=imported.project, after=vars(placement)
            )
            transaction.on_commit(lambda: ring("labeling.commit_import", imported.pk))
    except IntegrityError as error:  # one_import_per_file
        raise NotImportable(_("This very file has been imported before.")) from error


def commit_import(pk: int) -> None:
    """Store a file someone decided to import, in short transactions, from where an earlier worker was killed."""
    with hold(pk) as held:
        imported = Import.objects.select_related("project").filter(pk=pk, state=Import.State.STAGED).first()
        # Without a file it is the import command's: who began it there goes on with it there.
        if held is None or imported is None or not imported.file:
            return
        if not begin_attempt(imported):
            withdraw_rows(imported)
            return
        report = {name: value for name, value in imported.report.items() if name != "attempts"}

        def hear_progress(line: int) -> None:
            held.tell(report | {"progress": line / max(imported.n_rows, line)})

        path = Path(imported.file)
        try:
            with local_file(imported.file) as path:
                store_file(imported, restage(imported, path), read_placement(imported), hear_progress)
        except FileRefused as error:
            refuse_commit(imported, report | report_cause(error.name_file(str(path), imported.filename).reason))
            return
        delete_files(imported)
        left_out = {"n_left_out": report.get("n_pairs", 0) - imported.judgments.count()}
        Import.objects.filter(pk=pk).update(file="", report=report | left_out | {"progress": 1.0, "bad_file": ""})


@transaction.atomic
def refuse_commit(imported: Import, report: dict[str, Any]) -> None:
    staged = Import.objects.filter(pk=imported.pk, state=Import.State.STAGED)
    if staged.update(state=Import.State.REFUSED, report=report):
        withdraw_rows(imported)


def restage(imported: Import, path: Path) -> StagedFile:
    """Return a checked file as it was staged then; reading it will tell whether it is still the same."""
    mapped = Mapping.from_json(imported.mapping).to_format() if imported.mapping else None
    format = mapped or find_format(imported.format)
    if format is None:
        raise FileRefused(gettext_noop("The format %(name)s is not known any more."), name=imported.format)
    report, uses_tags = Report(imported.format), bool(imported.report.get("uses_tags"))
    return StagedFile(SourceFile(path), format, imported.sha256, report, Digests(), Digests(), uses_tags=uses_tags)


def read_placement(imported: Import) -> Placement:
    """Return what was asked for. An import begun before a choice existed has none of it."""
    known = Placement.__dataclass_fields__.keys() & imported.options.keys()
    return Placement(**{name: imported.options[name] for name in known})
