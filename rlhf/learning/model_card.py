"""The card of a model that a run has published: written into its folder once the run knows how good it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.contract.model_card import (
    CARD,
    describe_figures,
    describe_settings,
    describe_use,
    list_figures,
    write_header,
)
from rlhf.contract.model_folder import SCORER_FILE, gives_scores
from rlhf.contract.run_dir import CHECKPOINTS, DATA, FINAL, MANIFEST, hash_file, write_atomic
from rlhf.contract.settings import RunConfig


def add_card(run_dir: Path, config: RunConfig, metrics: dict[str, Any]) -> None:
    """Write README.md into checkpoints/final and name it in the manifest there.

    A process that dies in between leaves a sealed folder with one file more than its manifest knows.
    """
    folder = run_dir / CHECKPOINTS / FINAL
    write_atomic(folder / CARD, make_card(run_dir, config, metrics))
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["files"][CARD] = {"sha256": hash_file(folder / CARD), "size": (folder / CARD).stat().st_size}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))


def make_card(run_dir: Path, config: RunConfig, metrics: dict[str, Any]) -> str:
    """Return the text: what the model comes from and learned from, by their hashes, with which settings, and its figures.

    Nothing in it depends on when or where the run was done: equal runs make equal cards.
    """
    folder = run_dir / CHECKPOINTS / FINAL
    scores = gives_scores(folder)
    settings = dataclasses.asdict(config)
    lines = [
        *write_header(gives_scores=scores, kind=config.kind),
        f"# A {'reward model' if scores else 'policy'} by {config.kind}",
        "",
        f"Made with Prefloop. {MANIFEST} holds the hash of every file.",
        "",
        *("## Where it comes from", ""),
        *(list(name_models(settings)) or ["From nothing: its weights were drawn from the seed."]),
        "",
        *("## Data", "", "| file | rows | sha256 |", "|---|---|---|"),
        *(f"| {path.name} | {count_lines(path):,} | `{hash_file(path)}` |" for path in find_data(run_dir)),
        "",
        *describe_settings(config.kind, settings),
        *describe_figures(list_figures(metrics)),
        *describe_use("this-folder", gives_scores=scores, weighs_words=(folder / SCORER_FILE).exists()),
    ]
    return "\n".join(lines) + "\n"


def name_models(settings: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each model the run has read, by the hash of its manifest, or of its weights where it has none."""
    for name, value in settings.items():
        if not name.endswith("_model") or not value or not Path(value).is_dir():
            continue
        folder = Path(value)
        files = [folder / MANIFEST] if (folder / MANIFEST).exists() else sorted(folder.glob("*.safetensors"))
        hashes = ", ".join(f"{path.name} sha256 `{hash_file(path)}`" for path in files)
        yield f"- {name}: {hashes}"


def find_data(run_dir: Path) -> list[Path]:
    """Return the files of rows that the run has read."""
    return sorted((run_dir / DATA).glob("*.jsonl"))


def count_lines(path: Path) -> int:
    """Return the rows of a file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)
