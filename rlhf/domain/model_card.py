"""The card of a model: where it comes from, what it learned from and how, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlhf.contract.model_card import (
    Measure,
    describe_figures,
    describe_settings,
    describe_use,
    list_figures,
    list_settings,
    write_header,
)
from rlhf.models import Checkpoint, Run


def trace_parents(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return the checkpoint, its parent, and so on to the first, read in one query."""
    by_id = Checkpoint.objects.filter(project=checkpoint.project_id).select_related("run__dataset").in_bulk()
    chain = [checkpoint]
    while chain[-1].parent_id in by_id:
        chain.append(by_id[chain[-1].parent_id])
    return chain


def list_changes(run: Run) -> dict[str, Any]:
    """Return the settings of a run that are not the defaults of its kind; folders are named by their checkpoints."""
    return list_settings(run.kind, run.config)


def list_measures(run: Run) -> list[Measure]:
    """Return the numbers a run ended with, the ends of intervals beside what they are the ends of."""
    return list_figures(run.result)


def make_card(checkpoint: Checkpoint, chain: Sequence[Checkpoint]) -> str:
    """Return the README.md of an exported model: the header the Hub reads, lineage, data, settings, figures, how to load."""
    run = checkpoint.run
    gives_scores = checkpoint.kind == Checkpoint.Kind.REWARD
    lines = [*write_header(gives_scores=gives_scores, kind=run.kind if run else ""), *make_lineage(checkpoint, chain)]
    if run is not None:
        lines += [*describe_settings(run.kind, run.config), *describe_figures(list_measures(run))]
    weighs_words = run is not None and run.config.get("head") == "tokens"
    lines += describe_use(checkpoint.name, gives_scores=gives_scores, weighs_words=weighs_words)
    return "\n".join(lines) + "\n"


def make_lineage(checkpoint: Checkpoint, chain: Sequence[Checkpoint]) -> list[str]:
    """Return what the house knows of a model and its folder does not: names, and the way it came."""
    run = checkpoint.run
    return [
        f"# {checkpoint.name}",
        "",
        f"A {checkpoint.get_kind_display()}, made {checkpoint.created_at:%Y-%m-%d} with Prefloop"
        + (f" by {run.get_kind_display()}." if run else " from a folder that was registered."),
        "",
        f"Content: sha256 `{checkpoint.manifest_sha256}` of manifest.json, which holds the hash of every file.",
        "",
        "## Where it comes from",
        "",
        *(f"{number}. {describe_link(each)}" for number, each in enumerate(reversed(chain), 1)),
        "",
    ]


def describe_link(checkpoint: Checkpoint) -> str:
    """Return one step of a model's way: its name, the method, and the data by name and hash."""
    run = checkpoint.run
    if run is None:
        return f"{checkpoint.name}: registered from a folder"
    merged = f" with {run.other}" if run.other_id else ""
    data = f" on {run.dataset} (sha256 `{run.dataset.sha256}`, {run.dataset.n_train:,} rows)" if run.dataset else ""
    return f"{checkpoint.name}: {run.get_kind_display()}{merged}{data}"
