"""Writes a dataset in other people's formats, whole or not at all; every row is checked. No row names a labeler."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rlhf.contract.records import Message, canonical_line, write_rows
from rlhf.domain.datasets.card import write_card
from rlhf.domain.datasets.checks import ExportRefused, check_row
from rlhf.domain.datasets.parquet import write_parquet
from rlhf.domain.datasets.shelf import SPLITS, open_split, open_unpaired
from rlhf.models import Dataset

Row = dict[str, Any]
ONCE = ("kto", "sft")
SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def export_dataset(dataset: Dataset, *, format: str, path: Path) -> list[Path]:
    """Write the dataset's splits and a card into the new folder `path` and return the files.

    A split without rows is left out, since `datasets` cannot load an empty file. Raises: ExportRefused, CorruptError.
    """
    check_format(dataset, format)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExportRefused(f"{path} exists already: choose a new folder")
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    names = {}
    for split in SPLITS:
        if dataset.n_train if split == "train" else dataset.n_test:
            names[split] = write_split_file(dataset, split, format=format, folder=part)
    write_card(dataset, names, folder=part, both_ways=count_both_ways(dataset, format=format))
    if path.exists():
        path.rmdir()
    os.replace(part, path)
    return [path / name for name in [*names.values(), "README.md"]]


def materialize_unpaired(dataset: Dataset, data_dir: Path) -> None:
    """Write the completions of preferences into a run's data folder, each good or bad; both bad ones are among them.

    Raises: ExportRefused, CorruptError.
    """
    check_format(dataset, "kto")
    data_dir.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        part = data_dir / f".{split}.jsonl.part"
        write_rows(part, read_export(dataset, split, format="kto"))
        os.replace(part, data_dir / f"{split}.jsonl")


def check_format(dataset: Dataset, format: str) -> None:
    """Raises: ExportRefused where the format has no rows for what the dataset holds."""
    if format not in FORMATS:
        raise ExportRefused(f"--format must be one of {', '.join(FORMATS)}, got {format!r}")
    if format not in list_formats(dataset.kind):
        raise ExportRefused(
            f"{dataset} holds {dataset.get_kind_display()}, which {format} has no rows for: "
            f"use {' or '.join(list_formats(dataset.kind))}"
        )


def list_formats(kind: str) -> list[str]:
    """Return the formats that have rows for a kind of dataset."""
    if kind == Dataset.Kind.PREFERENCE:
        return list(FORMATS)
    return ["trl", "sft", "parquet"] if kind == Dataset.Kind.DEMONSTRATION else ["trl", "parquet"]


def read_export(dataset: Dataset, split: str, *, format: str) -> Iterator[Row]:
    """Yield the rows of a split in a format, each checked. Raises: ExportRefused, CorruptError.

    A completion stands in many pairs: kto and sft, which have rows of completions, hold each once, and kto none that some
    rows call good and others bad. What is remembered for that is 16 bytes each.
    """
    name = format if dataset.kind == Dataset.Kind.PREFERENCE or format == "sft" else dataset.kind
    rows = write_each(dataset, split, format=format)
    if format in ONCE:
        rows = drop_repeats(rows, find_both_ways(dataset, split) if format == "kto" else set())
    for number, row in enumerate(rows, 1):
        yield check_row(row, name, number=number)


def list_columns(dataset: Dataset, split: str, *, format: str) -> set[str]:
    """Return the columns that any row of a split has. Raises: ExportRefused, CorruptError."""
    return {column for row in read_export(dataset, split, format=format) for column in row}


def write_each(dataset: Dataset, split: str, *, format: str) -> Iterator[Row]:
    """Yield what the format makes of each row, and for kto the rows of comparisons both of whose completions are bad.

    Where annotators made some of the rows, all say whose they are, and what they weigh; openai has no place for it.
    """
    is_told = bool(dataset.counts.get("ai")) and format != "openai"
    for row in open_split(dataset, split):
        told = tell_origin(row, format=format, kind=dataset.kind) if is_told else {}
        yield from (made | told for made in FORMATS[format](row))
    for row in open_unpaired(dataset, split) if format == "kto" else ():
        told = tell_origin({}, format=format, kind=dataset.kind) if is_told else {}
        yield {key: row[key] for key in ("prompt", "completion", "label")} | told


def tell_origin(row: Row, *, format: str, kind: str) -> Row:
    """Return whose a row is and, where it is to be weighed, its weight and target: the same columns for every row."""
    told: Row = {"source": row.get("source", "own"), "annotator_kind": row.get("annotator_kind", "human")}
    if kind == Dataset.Kind.PREFERENCE and format in ("trl", "parquet", "kto"):
        told["weight"] = row.get("weight", 1.0)
    if kind == Dataset.Kind.PREFERENCE and format in ("trl", "parquet"):
        told["target"] = row.get("target", 1.0)
    return told


def count_both_ways(dataset: Dataset, *, format: str) -> int:
    """Return how many completions the format leaves out since some rows call them good and others bad."""
    return sum(len(find_both_ways(dataset, split)) for split in SPLITS) if format == "kto" else 0


def find_both_ways(dataset: Dataset, split: str) -> set[bytes]:
    """Return the digests of the completions kto would have with both labels; against people no annotator says anything."""
    found: dict[str, tuple[set[bytes], set[bytes]]] = {"human": (set(), set()), "ai": (set(), set())}
    for row in write_each(dataset, split, format="kto"):
        found[row.get("annotator_kind", "human")][row["label"]].add(digest_row(row))
    bad, good = found["human"]
    return (bad & good) | (found["ai"][0] & found["ai"][1] - bad - good)


def drop_repeats(rows: Iterable[Row], left_out: set[bytes]) -> Iterator[Row]:
    """Yield each distinct row once, but none of what is left out; people's come before annotators'."""
    seen = set(left_out)
    for row in rows:
        if (digest := digest_row(row)) not in seen:
            seen.add(digest)
            yield row


def digest_row(row: Row) -> bytes:
    """Return what tells a row's texts from others, whatever its label and whoever gave it."""
    texts = {key: row[key] for key in ("prompt", "completion", "messages") if key in row}
    return hashlib.blake2b(canonical_line(texts), digest_size=16).digest()


def write_split_file(dataset: Dataset, split: str, *, format: str, folder: Path) -> str:
    """Write one split and return its file's name within the folder."""
    rows = read_export(dataset, split, format=format)
    if format == "parquet":
        name = f"data/{split}-00000-of-00001.parquet"
        (folder / "data").mkdir(exist_ok=True)
        write_parquet(folder / name, rows, kind=dataset.kind, columns=list_columns(dataset, split, format=format))
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
    """TRL's unpaired format: two rows a pair. Where both were bad there is no pair; write_each adds these two rows."""
    yield {"prompt": row["prompt"], "completion": row["chosen"], "label": True}
    yield {"prompt": row["prompt"], "completion": row["rejected"], "label": False}


def to_sft(row: Row) -> Iterator[Row]:
    """TRL's language-modelling format: the prompt and the chosen completion as one conversation."""
    yield {"messages": row["messages"] if "messages" in row else [*row["prompt"], *row["chosen"]]}


FORMATS: dict[str, Callable[[Row], Iterable[Row]]] = {
    "trl": to_trl,
    "hh": to_hh,
    "openai": to_openai,
    "kto": to_kto,
    "sft": to_sft,
    "parquet": to_trl,
}
