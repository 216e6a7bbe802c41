"""Which held-out pairs a reward model agrees with, and how with those each labeler judged: no name leaves the house."""

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
AGREED = "agreed"  # in a run's result: a character for each line of the test split, of SIGNS
SIGNS = {"1": 1.0, "0": 0.0, "h": 0.5}  # any other: the line was not measured


def count_by_labeler(run: Run, folder: Path) -> dict[str, Any]:
    """Return what to add to a run's result: which lines the model agrees with, and how many of each labeler's.

    Agreed with is a pair's label, in which she may have been outvoted. Nothing for a run that tells of no pairs.
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
    return {AGREED: write_agreed(hits)} | ({LABELERS: rows} if rows else {})


def write_agreed(hits: dict[int, float]) -> str:
    """Return the hits by line as a text that `read_agreed` reads."""
    signs = {hit: sign for sign, hit in SIGNS.items()}
    return "".join(signs.get(hits.get(line, -1.0), "-") for line in range(1, max(hits, default=0) + 1))


def read_agreed(run: Run) -> dict[int, float] | None:
    """Return by line of the test split whether the model agrees with it; None where the run did not keep it."""
    if AGREED not in run.result:
        return None
    return {line: SIGNS[sign] for line, sign in enumerate(run.result[AGREED], 1) if sign in SIGNS}


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
