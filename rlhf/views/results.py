"""A run's final metrics as a person weighs them: each share with its 95% interval, beside what length and words reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlhf.contract.run_dir import USAGE
from rlhf.domain.labeler_hits import AGREED, LABELERS

# The shares that say how good the run is, best known first, and the rules that do not understand what they read.
SHARES = ("eval_accuracy", "eval_rewards/accuracies", "win_rate", "model_win_rate", "doubt_win_rate")
REWEIGHTED = "_reweighted"  # ends the key of a share in which each pair weighs the inverse of its propensity
BASELINES = {
    "baseline_longer": "the longer is better",
    "baseline_shorter": "the shorter is better",
    "baseline_words": "a list of good and bad words",
}

SLICES = "slices"  # rows of {slice, n, accuracy, low, high}, shown as a table of their own
APART = (SLICES, USAGE, LABELERS, AGREED)


@dataclass(frozen=True)
class Figure:
    """One final metric. low, high: its 95% interval, when it has one."""

    key: str
    value: Any
    low: float | None = None
    high: float | None = None
    explanation: str = ""

    @property
    def is_share(self) -> bool:
        return self.low is not None and self.high is not None and 0 <= self.low <= self.high <= 1

    @property
    def is_baseline(self) -> bool:
        return self.key in BASELINES

    @property
    def note(self) -> str:
        return BASELINES.get(self.key, "")

    @property
    def place(self) -> dict[str, float]:
        """Where value and interval lie on a scale 100 units wide, for the SVG."""
        assert self.low is not None
        assert self.high is not None
        return {"value": 100 * self.value, "low": 100 * self.low, "width": 100 * (self.high - self.low)}


def list_figures(result: dict[str, Any]) -> list[Figure]:
    """Return the shares first, then the baselines, then the rest; interval ends are folded into their share."""
    ends = {
        f"{key}_{end}"
        for key in result
        for end in ("low", "high")
        if f"{key}_low" in result and f"{key}_high" in result
    }
    figures = [
        Figure(key, value, result.get(f"{key}_low"), result.get(f"{key}_high"), explain(key, result))
        for key, value in result.items()
        if key not in ends and key not in APART
    ]
    order = [name for share in SHARES for name in (share, f"{share}{REWEIGHTED}")] + [*BASELINES]
    return sorted(figures, key=lambda figure: order.index(figure.key) if figure.key in order else len(order))


def explain(key: str, result: dict[str, Any]) -> str:
    """Say how a reweighted share was measured; an empty text for any other figure."""
    if not key.endswith(REWEIGHTED):
        return ""
    n, n_effective = result["n_reweighted"], result["n_effective"]
    return (
        f"Over {n} held-out pairs that chance picked, each weighed by 1 / its propensity: an estimate for all pairs that "
        f"could have been asked about. They say as much as {n_effective:.0f} that weigh alike."
    )


def weigh_result(result: dict[str, Any]) -> str:
    """Say in one sentence whether the run learned more than length and words; an empty text when it cannot be said."""
    figures = {figure.key: figure for figure in list_figures(result)}
    share = next((figures[key] for key in SHARES if key in figures), None)
    baselines = [figures[key] for key in BASELINES if key in figures]
    if share is None or not share.is_share or not baselines:
        return ""
    best = max(baselines, key=lambda figure: figure.value)
    if share.low is not None and best.high is not None and share.low > best.high:
        return f"Better than “{best.note}” ({best.value:.1%}): its whole interval lies above it."
    if share.value > best.value:
        return (
            f"Ahead of “{best.note}” ({best.value:.1%}), but the intervals overlap: more held-out judgments would tell."
        )
    return (
        f"No better than “{best.note}” ({best.value:.1%}): it may know no more than that, or the judgments are too few."
    )
