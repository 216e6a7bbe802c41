"""Keeps the new comparisons of an import out of the queue until it is committed, and takes them back when it is not."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from labeling.domain.intake.pacing import Pace
from labeling.domain.overlap import shut_slots
from labeling.models import Comparison, Demonstration, Import, ImportedJudgment, Slot

NEW = "new_comparisons"  # in Import.options: [first, last] of every run of ids


def shut_new(imported: Import, ids: list[int]) -> None:
    """Shut the slots of comparisons that this transaction stored, and note which they are."""
    if not ids:
        return
    shut_slots(ids)
    runs = [list(run) for run in imported.options.get(NEW, [])]
    for pk in ids:
        if runs and runs[-1][1] + 1 == pk:
            runs[-1][1] = pk
        else:
            runs.append([pk, pk])
    imported.options = imported.options | {NEW: runs}
    Import.objects.filter(pk=imported.pk).update(options=imported.options)


def open_new(imported: Import) -> None:
    """Open the slots of a committed import's new comparisons, a short transaction at a time; the sweeper goes on with
    what a kill left shut."""
    pace, is_left = Pace(), True
    while is_left:
        with pace.turn():
            is_left = open_some(imported, pace.n_rows)


def open_some(imported: Import, n: int) -> bool:
    """Open the slots of the next n comparisons at most, and say whether some are left."""
    options = Import.objects.select_for_update().values_list("options", flat=True).get(pk=imported.pk)
    (first, last), *others = options.pop(NEW, None) or [(0, -1)]
    until = min(last, first + n - 1)
    queued = Comparison.objects.filter(
        project=imported.project_id,
        pk__range=(first, until),
        state=Comparison.State.OPEN,
        prompt__is_held_out=False,
        gold__isnull=True,
    )
    shut = Slot.objects.of_work().filter(comparison__in=queued, state=Slot.State.SHUT)
    shut.update(state=Slot.State.FREE, opened_at=Now())
    if left := [[until + 1, last]] * (until < last) + others:
        options[NEW] = left
    Import.objects.filter(pk=imported.pk).update(options=options)
    return bool(left)


def list_half_open() -> QuerySet[Import]:
    """Return the committed imports some of whose new comparisons still wait to be opened."""
    return Import.objects.filter(state=Import.State.COMMITTED, options__has_key=NEW)


@transaction.atomic
def withdraw_rows(imported: Import) -> None:
    """Delete the votes and demonstrations of an import that does not count, and the comparisons only it brought."""
    ImportedJudgment.objects.filter(imported=imported).delete()
    Demonstration.objects.filter(imported=imported).delete()
    for rows in take_new(imported):
        used = [Slot.State.FREE, Slot.State.HELD, Slot.State.DONE]
        unused = rows.filter(judgments=None, imported_judgments=None, adjudications=None, skips=None, gold=None)
        unused.exclude(slots__state__in=used).delete()


def take_new(imported: Import) -> Iterator[QuerySet[Comparison]]:
    """Yield an import's new comparisons, a run at a time, and forget which they were."""
    options = Import.objects.values_list("options", flat=True).get(pk=imported.pk)
    for first, last in options.pop(NEW, []):
        yield Comparison.objects.filter(project=imported.project_id, pk__range=(first, last))
    imported.options = options
    Import.objects.filter(pk=imported.pk).update(options=options)
