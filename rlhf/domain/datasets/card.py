"""The README.md of an exported dataset: what it is, for people and for the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf.models import Dataset

TAGS = {
    Dataset.Kind.PREFERENCE.value: ["preference", "dpo", "rlhf"],
    Dataset.Kind.DEMONSTRATION.value: ["sft"],
    Dataset.Kind.TEXT.value: [],
    Dataset.Kind.PROMPT.value: ["rlhf"],
}


def write_card(dataset: Dataset, names: dict[str, str], *, folder: Path, both_ways: int = 0) -> None:
    """Write the card as README.md."""
    (folder / "README.md").write_text(make_card(dataset, names, both_ways=both_ways), "utf-8")


def make_card(dataset: Dataset, names: dict[str, str], *, both_ways: int = 0) -> str:
    """Return the card: the header `datasets` reads the splits from, the rule and the counts.

    both_ways: how many completions were left out since some rows call them good and others bad.
    """
    # JSON is YAML, and its strings need no quoting rules of our own.
    header = {
        "pretty_name": dataset.name,
        "tags": TAGS[dataset.kind],
        "configs": [
            {"config_name": "default", "data_files": [{"split": split, "path": name} for split, name in names.items()]}
        ],
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()),
        "---",
        "",
        f"# {dataset.name}",
        "",
        f"{dataset.n_train:,} rows to train on and {dataset.n_test:,} to test on; no group of prompts is in both.",
        "",
        f"Content: sha256 `{dataset.sha256}` over the canonical rows of train, then test.",
        "",
        "## Rule",
        "",
        *block(hide_names(dataset.rule)),
        "",
        "## Counts",
        "",
        *block(dataset.counts | ({"both_ways_left_out": both_ways} if both_ways else {})),
    ]
    return "\n".join(lines) + "\n"


def hide_names(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as strangers may read it: how many labelers were left out, not who, and no note of the house."""
    shown = {name: value for name, value in rule.items() if name != "note"}
    if excluded := shown.get("exclude_labelers"):
        shown["exclude_labelers"] = len(excluded)
    return shown


def block(value: object) -> list[str]:
    return ["```json", json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True), "```"]
