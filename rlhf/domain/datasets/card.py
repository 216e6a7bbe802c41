"""The README.md of an exported dataset: what it is, for people and for the Hub."""

from __future__ import annotations

import json
from pathlib import Path

from rlhf.models import Dataset

TAGS = {
    Dataset.Kind.PREFERENCE.value: ["preference", "dpo", "rlhf"],
    Dataset.Kind.DEMONSTRATION.value: ["sft"],
    Dataset.Kind.TEXT.value: [],
    Dataset.Kind.PROMPT.value: ["rlhf"],
}


def write_card(dataset: Dataset, names: dict[str, str], *, folder: Path) -> None:
    """Write README.md with the header `datasets` reads the splits from, the rule and the counts."""
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
        *block(dataset.rule),
        "",
        "## Counts",
        "",
        *block(dataset.counts),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


def block(value: object) -> list[str]:
    return ["```json", json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True), "```"]
