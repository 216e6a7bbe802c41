"""Puts rows on the shelf as a sealed dataset and takes them down again, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.domain.audit import record_event
from labeling.models import Project, User
from rlhf.contract.records import canonical_line, hash_lines
from rlhf.domain.datasets.bytes import SplitBytes, copy_stored, read_stored, store_split, write_split
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.errors import NotReady
from rlhf.models import Dataset, DatasetSource

SPLITS = (TRAIN, TEST)
UNPAIRED = "unpaired"
CHUNK = 500


class EmptyDataset(NotReady):
    """There is nothing to freeze; the message says where rows come from."""


def freeze_rows(
    project: Project,
    *,
    kind: str,
    name: str,
    train: Iterable[Any],
    test: Iterable[Any],
    rule: dict[str, Any],
    user: AbstractBaseUser | None = None,
    counts: dict[str, Any] | None = None,
    sources: list[DatasetSource] | None = None,
    unpaired: Iterable[Any] = (),
) -> Dataset:
    """Store rows as canonical bytes and seal a dataset over them.

    The same rows by the same rule from the same judgments are the dataset there is; bytes alone are shared in storage.

    The row, its sources and its seal become visible at once, after the bytes are in storage. What is unpaired lies
    beside the splits, for whoever exports it; its hash is kept with the counts. Raises: EmptyDataset.
    """
    splits = {TRAIN: write_split(train), TEST: write_split(test), UNPAIRED: write_split(unpaired)}
    used = TEST if kind == Dataset.Kind.BENCHMARK else TRAIN
    if not splits[used].n_rows:
        raise EmptyDataset(f"{name} would have no rows to {used} on")
    if not splits[UNPAIRED].n_rows:
        splits.pop(UNPAIRED).file.close()
    dataset = Dataset(
        project=project,
        name=name,
        kind=kind,
        sha256=hash_identity(rule, {name: split.sha256 for name, split in splits.items()}),
        train_sha256=splits[TRAIN].sha256,
        test_sha256=splits[TEST].sha256,
        sources_sha256=hash_sources(sources or []),
        rule=rule,
        counts=(counts or {}) | count_unpaired(splits.get(UNPAIRED)),
        n_train=splits[TRAIN].n_rows,
        n_test=splits[TEST].n_rows,
        created_by_id=None if user is None else user.pk,
    )
    for split in splits.values():
        store_split(split, f"datasets/{split.sha256}.jsonl")
    stored = Dataset.objects.filter(project=project, sha256=dataset.sha256, sources_sha256=dataset.sources_sha256)
    if existing := stored.first():
        return existing
    try:
        with transaction.atomic():
            seal(dataset, sources or [])
            facts = {"kind": kind, "train": dataset.n_train, "test": dataset.n_test, "sha256": dataset.sha256}
            record_event("dataset.freeze", dataset, actor=cast("User | None", user), project=project, after=facts)
    except IntegrityError:
        if existing := stored.first():
            return existing  # one_dataset_per_content: another freeze was first
        raise
    return dataset


def count_unpaired(split: SplitBytes | None) -> dict[str, Any]:
    return {UNPAIRED: split.n_rows, "unpaired_sha256": split.sha256} if split else {}


def hash_identity(rule: dict[str, Any], splits: dict[str, str]) -> str:
    """Return what a dataset is known by: its rule and its bytes, with the line between train and test."""
    return hash_lines([canonical_line({"rule": rule, **splits})])


def hash_sources(sources: list[DatasetSource]) -> str:
    """Return the hash of which judgments stand behind which line."""
    # An annotator's judgment is named only where there is one: datasets of people's keep the hash they have.
    rows = sorted(
        (
            (source.split, source.line, source.judgment_id or 0, source.imported_judgment_id or 0)
            + ((source.ai_judgment_id,) if source.ai_judgment_id else ())
        )
        for source in sources
    )
    return hash_lines(canonical_line(row) for row in rows)


def seal(dataset: Dataset, sources: list[DatasetSource]) -> None:
    """Insert the dataset and its sources; from here on the database lets nobody change either."""
    dataset.save(force_insert=True)
    for source in sources:
        source.dataset = dataset
    DatasetSource.objects.bulk_create(sources, batch_size=CHUNK)
    dataset.sealed_at = timezone.now()
    dataset.save(update_fields=["sealed_at"])


def open_split(dataset: Dataset, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split. Raises: CorruptError, at the latest after the last row."""
    for line in read_stored(dataset.file_name(split), sha256_of(dataset, split)):
        yield json.loads(line)


def open_unpaired(dataset: Dataset, split: str) -> Iterator[dict[str, Any]]:
    """Yield the unpaired rows of a split, if there are any. Raises: CorruptError, at the latest after the last row."""
    sha256 = dataset.counts.get("unpaired_sha256")
    for line in read_stored(f"datasets/{sha256}.jsonl", sha256) if sha256 else ():
        row = json.loads(line)
        if row["split"] == split:
            yield row


def materialize_dataset(dataset: Dataset, data_dir: Path) -> None:
    """Write train.jsonl and test.jsonl into a run's data folder, byte for byte. Raises: CorruptError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        copy_stored(dataset.file_name(split), sha256_of(dataset, split), data_dir / f"{split}.jsonl")


def sha256_of(dataset: Dataset, split: str) -> str:
    return str(dataset.train_sha256 if split == TRAIN else dataset.test_sha256)
