"""Writes a dataset in other people's formats, whole or not at all. No row names a labeler."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rlhf.contract.records import Message, write_rows
from rlhf.domain.datasets.card import write_card
from rlhf.domain.datasets.parquet import write_parquet
from rlhf.domain.datasets.shelf import SPLITS, open_split
from rlhf.domain.errors import LearningError
from rlhf.models import Dataset

Row = dict[str, Any]
SPEAKERS = {"user": "Human", "assistant": "Assistant"}


class ExportRefused(LearningError):
    """The dataset cannot be written in this format or to this place."""


def export_dataset(dataset: Dataset, *, format: str, path: Path) -> list[Path]:
    """Write the dataset's splits and a card into the new folder `path` and return the files.

    A split without rows is left out, since `datasets` cannot load an empty file. Raises: ExportRefused, CorruptError.
    """
    if format not in FORMATS:
        raise ExportRefused(f"--format must be one of {', '.join(FORMATS)}, got {format!r}")
    if dataset.kind != Dataset.Kind.PREFERENCE and format not in ("trl", "parquet"):
        raise ExportRefused(
            f"{dataset} holds {dataset.get_kind_display()}, which {format} has no rows for: use trl or parquet"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExportRefused(f"{path} exists already: choose a new folder")
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    names = {}
    for split in SPLITS:
        if dataset.n_train if split == "train" else dataset.n_test:
            names[split] = write_split_file(dataset, split, format=format, folder=part)
    write_card(dataset, names, folder=part)
    if path.exists():
        path.rmdir()
    os.replace(part, path)
    return [path / name for name in [*names.values(), "README.md"]]


def write_split_file(dataset: Dataset, split: str, *, format: str, folder: Path) -> str:
    """Write one split and return its file's name within the folder."""
    rows = (written for row in open_split(dataset, split) for written in FORMATS[format](row))
    if format == "parquet":
        name = f"data/{split}-00000-of-00001.parquet"
        (folder / "data").mkdir(exist_ok=True)
        write_parquet(folder / name, rows, kind=dataset.kind)
        return name
    write_rows(folder / f"{split}.jsonl", rows)
    return f"{split}.jsonl"


def to_trl(row: Row) -> Iterator[Row]:
    """TRL's conversational format is what we keep."""
    yield row


def to_hh(row: Row) -> Iterator[Row]:
    """Two transcripts; a system message has no place in them."""
    head = "".join(write_turn(message) for message in row["prompt"])
    yield {side: head + "".join(write_turn(message) for message in row[side]) for side in ("chosen", "rejected")}


def write_turn(message: Message) -> str:
    if message["role"] not in SPEAKERS:
        raise ExportRefused(f"hh has no place for a {message['role']} message: use trl, openai or parquet")
    return f"\n\n{SPEAKERS[message['role']]}: {message['content']}"


def to_openai(row: Row) -> Iterator[Row]:
    """OpenAI's preference fine-tuning rows."""
    yield {
        "input": {"messages": row["prompt"], "tools": [], "parallel_tool_calls": True},
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }


def to_kto(row: Row) -> Iterator[Row]:
    """TRL's unpaired format: two rows a pair."""
    yield {"prompt": row["prompt"], "completion": row["chosen"], "label": True}
    yield {"prompt": row["prompt"], "completion": row["rejected"], "label": False}


FORMATS: dict[str, Callable[[Row], Iterable[Row]]] = {
    "trl": to_trl,
    "hh": to_hh,
    "openai": to_openai,
    "kto": to_kto,
    "parquet": to_trl,
}
