"""A dataset or a project's judgments as the one file a browser fetches, written as a stream: memory does not grow with it."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from django.utils.text import slugify

from labeling.models import Project
from rlhf.contract.records import canonical_line
from rlhf.domain.datasets.card import make_card
from rlhf.domain.datasets.checks import ExportRefused
from rlhf.domain.datasets.export import count_both_ways, list_columns, read_export
from rlhf.domain.datasets.judgments import read_judgments, write_csv
from rlhf.domain.datasets.parquet import write_parquet
from rlhf.domain.datasets.shelf import SPLITS
from rlhf.models import Dataset

BOTH = "both"
# Level 1 packs text to within a fifth of level 9 and is five times as fast.
GZIP_LEVEL = 1
BLOCK_BYTES = 2**20
# Zip keeps a time with each file: equal content shall be equal bytes.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)

Row = dict[str, Any]
Hear = Callable[[Iterator[Row]], Iterator[Row]]


def package_dataset(dataset: Dataset, *, format: str, split: str, target: IO[bytes], hear: Hear = iter) -> str:
    """Write a dataset's rows into one file and return the name to give it: a split, or both and their card as a zip.

    hear passes every row on. Raises: ExportRefused, CorruptError.
    """
    base = f"{slugify(dataset.name) or 'dataset'}-{format}"
    sizes = {"train": dataset.n_train, "test": dataset.n_test}
    splits = [name for name in SPLITS if sizes[name] and split in (BOTH, name)]
    if not splits:
        raise ExportRefused(f"{dataset} has no {split} rows")
    ending = "parquet" if format == "parquet" else "jsonl.gz"
    if len(splits) == 1 and split != BOTH:
        write_split(target, hear(read_export(dataset, split, format=format)), dataset, split, format)
        return f"{base}-{split}.{ending}"
    names = {name: f"{name}.{ending}" for name in splits}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, member in names.items():
            with archive.open(zipfile.ZipInfo(member, ZIP_TIME), "w", force_zip64=True) as file:
                write_split(file, hear(read_export(dataset, name, format=format)), dataset, name, format)
        card = make_card(dataset, names, both_ways=count_both_ways(dataset, format=format))
        archive.writestr(zipfile.ZipInfo("README.md", ZIP_TIME), card)
    return f"{base}.zip"


def write_split(target: IO[bytes], rows: Iterator[Row], dataset: Dataset, split: str, format: str) -> None:
    """Write rows as Parquet, or as canonical JSON lines under gzip."""
    if format != "parquet":
        write_packed(target, (canonical_line(row) for row in rows))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write_parquet(path, rows, kind=dataset.kind, columns=list_columns(dataset, split, format=format))
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                target.write(block)


def write_packed(target: IO[bytes], lines: Iterator[bytes]) -> None:
    """Write lines under gzip; equal lines are equal bytes."""
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=target, mtime=0) as packed,
        io.BufferedWriter(packed, BLOCK_BYTES) as buffer,  # type: ignore[type-var]
    ):
        for line in lines:
            buffer.write(line)


def package_judgments(project: Project, *, format: str, with_notes: bool, target: IO[bytes], hear: Hear = iter) -> str:
    """Write every judgment of a project into one file and return the name to give it."""
    rows = hear(read_judgments(project, with_notes=with_notes))
    if format == "csv":
        for block in write_csv(rows):
            target.write(block)
        return f"{project.slug}-judgments-lossy.csv"
    write_packed(target, (canonical_line(row) for row in rows))
    return f"{project.slug}-judgments.jsonl.gz"
