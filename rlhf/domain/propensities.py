"""With which probability each held-out pair was asked about: what an accuracy over them is reweighted by.

Pairs that a strategy picked for certain are left out: over what it passed by they say nothing, however they are weighed.
What chance picked, the control and the duels of each round, stands for all that could have been asked.
"""

from __future__ import annotations

from pathlib import Path

from labeling.models import Comparison, Reason
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import PROPENSITIES
from rlhf.domain.datasets.split import TEST
from rlhf.models import Dataset, DatasetSource, Run

BY_CHANCE = Reason.RANDOM
MEASURED = (Run.Kind.REWARD, Run.Kind.EVALUATE)


def write_propensities(run: Run, data_dir: Path) -> None:
    """Write those of the test lines of its dataset that chance picked into the data of a run that measures on them.

    Nothing where all pairs weigh alike, as brought ones do.
    """
    if run.dataset is None or run.kind not in MEASURED:
        return
    asked = read_asked(run.dataset)
    weighed = [(line, propensity) for line, reason, propensity in asked if reason == BY_CHANCE]
    if len(weighed) < len(asked) or len({propensity for _, propensity in weighed}) > 1:
        write_rows(data_dir / PROPENSITIES, ({"line": line, "propensity": propensity} for line, propensity in weighed))


def read_asked(dataset: Dataset) -> list[tuple[int, str, float]]:
    """Return line, reason and propensity of the comparison behind each line of the test split."""
    behind = DatasetSource.objects.filter(dataset=dataset, split=TEST).order_by("line")
    lines = dict(behind.values_list("line", "comparison"))
    found = Comparison.objects.filter(pk__in=behind.values("comparison")).values_list("pk", "reason", "propensity")
    asked = {pk: (reason, propensity) for pk, reason, propensity in found}
    return [(line, *asked[comparison]) for line, comparison in lines.items()]
