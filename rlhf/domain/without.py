"""What a labeler does to the reward model: how one that learned from her fares on held-out pairs, and one that did not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from labeling.domain.intervals import Z_95, wilson_interval
from labeling.models import Project, User
from rlhf.contract.errors import CorruptError
from rlhf.contract.records import canonical_line
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.datasets.split import TEST
from rlhf.domain.labeler_hits import LABELERS, read_agreed
from rlhf.models import Dataset, DatasetSource, Run

SEED = "seed"


@dataclass(frozen=True)
class Share:
    """How many of n held-out pairs a reward model agrees with, with Wilson's interval; n is over 0."""

    hits: float
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.hits, self.n)


@dataclass(frozen=True)
class Difference:
    """What is gained without her, and its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Effect:
    """The newest reward run that learned from her, and the newest of all where that did not, on pairs both are tested on.

    hers, everyone: what the first agrees with, of the pairs she judged and of all. n_apart: held-out pairs that only one
    of them has, or has with another label. settings: names of what else was set otherwise. reason: why there is no
    difference, where there is a second run.
    """

    learned: Run
    hers: Share | None
    everyone: Share | None
    rebuilt: Run | None = None
    before: Share | None = None
    after: Share | None = None
    difference: Difference | None = None
    n_apart: int = 0
    settings: Sequence[str] = ()
    reason: str = ""


def measure_effect(project: Project, labeler: User) -> Effect | None:
    """Return the effect of a labeler on the project's reward models; None where none has learned from her."""
    learned, rebuilt = find_runs(project, labeler)
    if learned is None:
        return None
    hers = next((row for row in learned.result.get(LABELERS, []) if row["labeler"] == labeler.pk), None)
    first = Effect(learned, hers=Share(hers["hits"], hers["n"]) if hers else None, everyone=read_accuracy(learned))
    if rebuilt is None:
        return first
    try:
        return compare(first, rebuilt)
    except CorruptError as error:
        return replace(first, rebuilt=rebuilt, reason=str(error))


def find_runs(project: Project, labeler: User) -> tuple[Run | None, Run | None]:
    """Return the newest reward run that learned from her, and the project's newest of all where that one did not."""
    sources = DatasetSource.objects.filter(dataset__project=project, judgment__labeler=labeler)
    hers = set(sources.order_by().values_list("dataset", flat=True).distinct())
    runs = Run.objects.filter(
        project=project, kind=Run.Kind.REWARD, state=Run.State.SUCCEEDED, dataset__kind=Dataset.Kind.PREFERENCE
    )
    newest = runs.select_related("dataset").order_by("-pk")
    learned, last = newest.filter(dataset__in=hers).first(), newest.first()
    return learned, last if learned and last != learned else None


def read_accuracy(run: Run) -> Share | None:
    """Return on how many of all its held-out pairs the run's model agrees with the label."""
    n = run.result.get("n_test", 0) - run.result.get("n_test_ties", 0)
    return Share(run.result["eval_accuracy"] * n, n) if n and "eval_accuracy" in run.result else None


def compare(first: Effect, rebuilt: Run) -> Effect:
    """Return the effect with both runs side by side, on the same pairs with the same labels. Raises: CorruptError."""
    effect = replace(first, rebuilt=rebuilt, settings=list_changed(first.learned, rebuilt))
    before, after = read_rows(first.learned), read_rows(rebuilt)
    if before is None or after is None:
        silent = first.learned if before is None else rebuilt
        return replace(effect, reason=f"{silent} did not keep which pairs it agrees with")
    same = sorted(before.keys() & after.keys())
    if not same:
        return replace(effect, reason="no held-out pair is the same in both")
    pairs = [(before[row], after[row]) for row in same]
    return replace(
        effect,
        before=Share(sum(said for said, _ in pairs), len(pairs)),
        after=Share(sum(said for _, said in pairs), len(pairs)),
        difference=measure_difference(pairs),
        n_apart=len(before.keys() ^ after.keys()),
    )


def read_rows(run: Run) -> dict[str, float] | None:
    """Return by content of a held-out pair, its label with it, whether the run's model agrees. Raises: CorruptError."""
    agreed = read_agreed(run)
    if agreed is None or run.dataset is None:
        return None
    rows = list(open_split(run.dataset, TEST))  # to the last: damage is told there
    return {hash_row(row): agreed[line] for line, row in enumerate(rows, 1) if line in agreed}


def hash_row(row: dict[str, object]) -> str:
    said = [row["prompt"], row["chosen"], row["rejected"]]
    return hashlib.sha256(canonical_line(said)).hexdigest()


def measure_difference(pairs: Sequence[tuple[float, float]]) -> Difference:
    """Return the mean of second minus first, with an interval that knows they are of the same rows.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions": half a row is
    added to each of the four cells, so that few rows that all agree do not look certain.
    """
    gained = math.fsum(max(after - before, 0.0) for before, after in pairs)
    lost = math.fsum(max(before - after, 0.0) for before, after in pairs)
    n = len(pairs) + 2
    middle = (gained - lost) / n
    half = Z_95 * math.sqrt(max(0.0, gained + lost + 1 - (gained - lost) ** 2 / n)) / n
    return Difference((gained - lost) / len(pairs), max(-1.0, middle - half), min(1.0, middle + half))


def list_changed(one: Run, other: Run) -> list[str]:
    """Return which settings differ, but for the seed, which differs in every round."""
    names = one.config.keys() | other.config.keys()
    return sorted(name for name in names - {SEED} if one.config.get(name) != other.config.get(name))
