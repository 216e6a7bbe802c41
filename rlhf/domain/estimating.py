"""What a run will cost, before it starts: memory and time from its settings, the shape of its model and its rows.

Pure arithmetic. For a CPU its constants were fitted to measured runs by benchmarks/estimates.py, which prints how far off
they are; for a GPU they are counted, not measured. Time is then corrected by how long earlier runs of the kind took on the
host that learns.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.contract.settings import RunConfig
from rlhf.domain.loads import CPU, Machine, ModelShape, RowShape, load_bytes, load_seconds
from rlhf.domain.weighing import weigh_run

# Over this many times the host's memory a run is refused; up to there the page warns.
REFUSED_ABOVE = 2.0


@dataclass(frozen=True)
class Estimate:
    """memory_bytes: the most that is held of the memory it learns in, a GPU's where there is one. seconds: of the whole run;
    uncorrected_s: what the arithmetic alone says. total_bytes: what there is of that memory."""

    memory_bytes: int
    seconds: float
    uncorrected_s: float
    total_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the host has the memory."""
        return self.memory_bytes <= self.total_bytes

    @property
    def is_refused(self) -> bool:
        """Whether it is so much too large that no error of the estimate explains it."""
        return self.memory_bytes > REFUSED_ABOVE * self.total_bytes

    def __str__(self) -> str:
        verdict = "fits" if self.fits else "does not fit"
        memory = f"about {describe_bytes(self.memory_bytes)} of {describe_bytes(self.total_bytes)}"
        return f"{verdict}: {memory}, about {describe_seconds(self.seconds)}"


def estimate_run(
    config: RunConfig,
    shape: ModelShape,
    rows: RowShape,
    *,
    total_bytes: int,
    took: Sequence[float] = (),
    machine: Machine = CPU,
) -> Estimate | None:
    """Return what a run will cost, None for a kind whose cost is not known.

    Args:
        shape: of the model it starts from, or makes. rows: of its dataset.
        total_bytes: memory of the machine that learns.
        took: seconds that earlier runs of the kind took over the seconds this arithmetic would have given.
    """
    load = weigh_run(config, shape, rows, machine)
    if load is None:
        return None
    uncorrected_s = load_seconds(load, machine)
    seconds = uncorrected_s * (statistics.median(took) if took else 1.0)
    return Estimate(round(load_bytes(load, machine)), round(seconds, 1), round(uncorrected_s, 3), total_bytes)


def describe_bytes(n_bytes: float) -> str:
    """Return bytes as people read memory: 640 MB, 3.1 GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def describe_seconds(seconds: float) -> str:
    """Return seconds in the grain of an estimate: 20 s, 4 min, 3.5 h."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
