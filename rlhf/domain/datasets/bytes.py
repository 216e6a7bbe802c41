"""A dataset's bytes: written once under their hash, copied into run directories, checked whenever they are read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.core.files import File
from django.core.files.storage import default_storage

from rlhf.contract.errors import CorruptError
from rlhf.contract.records import canonical_line

BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class SplitBytes:
    """The canonical lines of one split in an open temporary file."""

    file: IO[bytes]
    sha256: str
    n_rows: int


def write_split(rows: Iterable[Any]) -> SplitBytes:
    """Write rows as canonical lines into a temporary file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 -- store_split closes it
    digest, n_rows = hashlib.sha256(), 0
    for row in rows:
        line = canonical_line(row)
        file.write(line)
        digest.update(line)
        n_rows += 1
    file.seek(0)
    return SplitBytes(file, digest.hexdigest(), n_rows)


def store_split(split: SplitBytes, name: str) -> None:
    """Put a split into storage under its content's name, unless its very bytes are there already."""
    with split.file:
        if default_storage.exists(name):
            if hash_stored(name) == split.sha256:
                return
            default_storage.delete(name)  # a writer was killed half-way
        saved = default_storage.save(name, File(split.file))
        if saved != name:  # another writer was first; equal names hold equal bytes
            default_storage.delete(saved)


def hash_stored(name: str) -> str:
    with default_storage.open(name) as file:
        digest = hashlib.sha256()
        for block in file.chunks(BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()


def read_stored(name: str, sha256: str) -> Iterator[bytes]:
    """Yield the lines of a stored split. Raises: CorruptError, at the latest after the last line."""
    digest = hashlib.sha256()
    with open_stored(name) as file:
        for line in file:
            digest.update(line)
            yield line
    check_digest(name, digest.hexdigest(), sha256)


def copy_stored(name: str, sha256: str, path: Path) -> None:
    """Copy a stored split to a file that is whole or absent. Raises: CorruptError."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as target:
        for line in read_stored(name, sha256):
            target.write(line)
    os.replace(part, path)


def open_stored(name: str) -> File[bytes]:
    try:
        return default_storage.open(name)
    except FileNotFoundError as error:
        raise CorruptError(f"{name} is gone from the storage: restore it from a backup or freeze again") from error


def check_digest(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise CorruptError(f"{name} does not match its hash any more: restore it from a backup or freeze again")
