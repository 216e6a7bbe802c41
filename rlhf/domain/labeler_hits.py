"""How a reward model agrees with the held-out pairs that each labeler judged: her name never leaves the house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling.domain.intervals import wilson_interval
from labeling.models import User
from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import HITS
from rlhf.domain.datasets.split import TEST
from rlhf.models import DatasetSource, Run

LABELERS = "labelers"  # in a run's result: rows of {labeler, n, hits}


def count_by_labeler(run: Run, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what to add to a run's result: of the pairs that each labeler judged, how many the model agrees with.

    Agreed with is a pair's label, in which she may have been outvoted. Nothing for a run that tells of no pairs, or whose
    pairs no person judged here.
    """
    if not (folder / HITS).exists():
        return {}
    hits = {int(row["line"]): float(row["hit"]) for row in read_rows(folder / HITS)}
    judged = DatasetSource.objects.filter(dataset=run.dataset, split=TEST, judgment__isnull=False)
    counted: dict[int, list[float]] = {}
    for line, labeler in (
        judged.values_list("line", "judgment__labeler").distinct().order_by("judgment__labeler", "line")
    ):
        if line in hits:
            counted.setdefault(labeler, []).append(hits[line])
    rows = [{"labeler": labeler, "n": len(found), "hits": sum(found)} for labeler, found in counted.items()]
    return {LABELERS: rows} if rows else {}


def list_labeler_slices(run: Run) -> list[dict[str, Any]]:
    """Return what `count_by_labeler` found as rows of {slice, n, accuracy, low, high}, by the names of today."""
    rows = run.result.get(LABELERS, [])
    names = (
        dict(User.objects.filter(pk__in=[row["labeler"] for row in rows]).values_list("pk", "username")) if rows else {}
    )
    slices = []
    for row in sorted(rows, key=lambda row: names.get(row["labeler"], "")):
        low, high = wilson_interval(row["hits"], row["n"])
        name = f"judged by {names.get(row['labeler'], '?')}"
        slices.append({"slice": name, "n": row["n"], "accuracy": row["hits"] / row["n"], "low": low, "high": high})
    return slices
