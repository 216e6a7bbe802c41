"""What an evaluation of a policy found, in the words of whoever decides about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rlhf.views.charts import Chart, draw_chart

# Metric: how it is called, and how its value is written.
OWN_WORDS = {
    "rollout/len_mean": ("Mean length, tokens", "{:.1f}"),
    "rollout/finished_frac": ("Come to an end", "{:.0%}"),
    "rollout/distinct_1": ("Distinct tokens", "{:.1%}"),
    "rollout/distinct_2": ("Distinct token pairs", "{:.1%}"),
    "rollout/distinct_3": ("Distinct runs of three", "{:.1%}"),
    "rollout/reward_len_corr": ("Score goes with length", "{:+.2f}"),
}
FORGOTTEN = {"text": "Perplexity of held-out text", "demonstrations": "Perplexity of held-out demonstrations"}
TASKS = {
    "facts": "Facts of the demo's world",
    "opposites": "Opposites",
    "sums": "Small sums",
    "copying": "Words to repeat",
}
# What the report shows by itself, and the table of figures need not repeat.
PREFIXES = ("rollout/", "reference/", "tax/")
SHOWN = ("objective/kl", "objective/kl_low", "objective/kl_high", "objective/scores", "tasks", "best_of_n", "signs")


@dataclass(frozen=True)
class Line:
    """One row of a table: what it is, before, after, and the change in words."""

    name: str
    before: str
    after: str
    change: str = ""
    is_worse: bool = False


@dataclass(frozen=True)
class Report:
    """An evaluation of a policy. distance: a sentence; curve: best of n of the reference, and the policy."""

    distance: str
    own_words: list[Line]
    forgotten: list[Line]
    curve: Chart | None
    verdict: str
    signs: list[str]


def build_report(result: dict[str, Any]) -> Report | None:
    """Return the report of a policy's evaluation; None for other results."""
    if "tasks" not in result and "objective/kl_low" not in result:
        return None
    return Report(
        distance=describe_distance(result),
        own_words=list_own_words(result),
        forgotten=list_forgotten(result),
        curve=draw_curve(result),
        verdict=describe_verdict(result),
        signs=[sign["words"] for sign in result.get("signs", [])],
    )


def strip_report(result: dict[str, Any]) -> dict[str, Any]:
    """Return what of a policy's evaluation the table of figures is left with."""
    return {key: value for key, value in result.items() if not key.startswith(PREFIXES) and key not in SHOWN}


def describe_distance(result: dict[str, Any]) -> str:
    """Say how far the policy is from its reference."""
    if "objective/kl_low" not in result:
        return ""
    kl, low, high = (result[f"objective/kl{end}"] for end in ("", "_low", "_high"))
    return f"The KL to the reference is {kl:.2f} nats a completion (95% interval {max(low, 0.0):.2f} to {high:.2f})."


def describe_verdict(result: dict[str, Any]) -> str:
    """Say what the reward model thinks; it is no person."""
    if "model_win_rate" not in result:
        return ""
    rate, low, high = (result[f"model_win_rate{end}"] for end in ("", "_low", "_high"))
    return (
        f"The reward model prefers its completions to the reference's in {rate:.0%} of pairs (95% interval {low:.0%} to "
        f"{high:.0%}). That is what a model says: people's own win rate is with the checkpoints."
    )


def list_own_words(result: dict[str, Any]) -> list[Line]:
    return [
        Line(name, text.format(result[f"reference/{key}"]), text.format(result[key]))
        for key, (name, text) in OWN_WORDS.items()
        if key in result and f"reference/{key}" in result
    ]


def list_forgotten(result: dict[str, Any]) -> list[Line]:
    """Return perplexities and tasks before and after."""
    lines = []
    for key, name in FORGOTTEN.items():
        if f"tax/{key}_rise" in result:
            before, after, rise = (result[f"tax/{key}_{part}"] for part in ("before", "perplexity", "rise"))
            lines.append(Line(name, f"{before:.2f}", f"{after:.2f}", f"{rise:+.1%}", is_worse=rise > 0))
    for row in result.get("tasks", []):
        change = row["after"] - row["before"]
        name = f"{TASKS.get(row['task'], row['task'])}, of {row['n']}"
        lines.append(
            Line(
                name, f"{row['before']:.0%}", f"{row['after']:.0%}", f"{100 * change:+.0f} points", is_worse=change < 0
            )
        )
    return lines


def draw_curve(result: dict[str, Any]) -> Chart | None:
    """Draw what the best of n of the reference's completions would score, against the square root of its KL."""
    rows = result.get("best_of_n", [])
    if len(rows) < 2:
        return None
    distances = [math.sqrt(row["kl"]) for row in rows]
    series = {"best of n, score": list(zip(distances, (row["score"] for row in rows), strict=True))}
    if any(row["doubt"] != row["score"] for row in rows):
        series["most doubtful judge"] = list(zip(distances, (row["doubt"] for row in rows), strict=True))
    kl, score = max(result.get("objective/kl", 0.0), 0.0), result.get("objective/scores")
    if score is not None:
        series["the policy, from its reference"] = [(0.0, 0.0), (math.sqrt(kl), score)]
    return draw_chart(series, along="root of the KL")
