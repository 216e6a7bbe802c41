"""A checkpoint as one file to take away: a tar of the whole model and its card, made while it is sent.

A model that a run has published brings a card that its manifest names; what the house knows besides, names and the way it
came, lies beside it then.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labeling.domain.audit import record_event
from labeling.models import User
from rlhf.contract.model_card import CARD
from rlhf.domain.checkpoints import open_checkpoint
from rlhf.domain.model_card import make_card, make_lineage, trace_parents
from rlhf.models import Checkpoint

BLOCK_BYTES = 2**20
LINEAGE = "LINEAGE.md"
END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Archive:
    """A tar that is not yet written. size: its bytes, known beforehand."""

    name: str
    size: int
    blocks: Iterator[bytes]


def open_archive(checkpoint: Checkpoint, user: User) -> Archive:
    """Return the archive of a checkpoint, every byte checked against its manifest, with a line in the audit trail.

    Raises: ModelRefused when the model is damaged or not on this machine.
    """
    folder = open_checkpoint(checkpoint)
    name, text = add_page(checkpoint, has_card=(folder / CARD).exists())
    page = text.encode()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    asked = {"manifest_sha256": checkpoint.manifest_sha256}
    record_event("checkpoint.download", checkpoint, actor=user, project=checkpoint.project, after=asked)
    sizes = [len(page), *(path.stat().st_size for path in files)]
    return Archive(
        name=f"{checkpoint.name}.tar",
        size=sum(tarfile.BLOCKSIZE + pad(size) for size in sizes) + len(END),
        blocks=write_blocks(checkpoint, name, page, folder, files),
    )


def add_page(checkpoint: Checkpoint, *, has_card: bool) -> tuple[str, str]:
    """Return the name and the text of what the archive adds to a model's own files."""
    chain = trace_parents(checkpoint)
    if has_card:
        return LINEAGE, "\n".join(make_lineage(checkpoint, chain))
    return CARD, make_card(checkpoint, chain)


def write_blocks(checkpoint: Checkpoint, name: str, page: bytes, folder: Path, files: list[Path]) -> Iterator[bytes]:
    """Yield the tar: the page of a name, then the files as they lie in the folder. Equal models make equal bytes."""
    yield write_header(checkpoint, name, len(page)) + page.ljust(pad(len(page)), b"\0")
    for path in files:
        size = path.stat().st_size
        yield write_header(checkpoint, path.relative_to(folder).as_posix(), size)
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
        yield bytes(pad(size) - size)
    yield END


def write_header(checkpoint: Checkpoint, name: str, size: int) -> bytes:
    """Return the block that stands before a file."""
    info = tarfile.TarInfo(f"{checkpoint.name}/{name}")
    info.size, info.mode, info.mtime = size, 0o644, int(checkpoint.created_at.timestamp())
    return info.tobuf(tarfile.USTAR_FORMAT)


def pad(size: int) -> int:
    """Return a size rounded up to whole blocks."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
