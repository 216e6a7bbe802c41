"""The rows of a stranger's file, one at a time and within limits.

A file is JSON Lines, a JSON array, CSV or TSV, plain or gzipped, or Parquet; its first bytes say which, not its name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.delimited import LineFeed, find_delimiter, read_delimited
from labeling.domain.intake.refusals import FileRefused, Reason, RowRefused
from labeling.domain.intake.strict_json import StrictDecoder
from labeling.domain.intake.window import Window

GZIP_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"
UTF8_BOM, UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Limits:
    """How much of a stranger's file is looked at before it is refused."""

    line_bytes: int = 10 * 2**20
    file_bytes: int = 2 * 2**30
    depth: int = 200


LIMITS = Limits()


@dataclass(frozen=True)
class RawRow:
    """A row as read: its value, or why there is none. line counts from 1; in an array or Parquet it counts rows."""

    line: int
    value: dict[str, Any]
    problem: str = ""


class SourceFile:
    """A file that can be read again and again; after a whole reading, sha256 names its unpacked content."""

    def __init__(self, path: Path, limits: Limits = LIMITS) -> None:
        self.path = path
        self.limits = limits
        self.unit = "line"
        self.sha256 = ""
        self.share_read = 0.0

    def read_rows(self) -> Iterator[RawRow]:
        """Yield every row. Raises: FileRefused when the file as a whole cannot be read on."""
        digest, self.share_read = hashlib.sha256(), 0.0
        try:
            with self.path.open("rb") as packed:
                if packed.peek(4)[:4] == PARQUET_MAGIC:
                    self.unit = "row"
                    yield from self._read_parquet(packed, digest)
                else:
                    yield from self._watch(packed, self._read_text(packed, digest))
        except (OSError, EOFError, zlib.error) as error:
            raise FileRefused(_("%(path)s cannot be read: %(error)s"), path=self.path, error=error) from error
        self.sha256 = digest.hexdigest()

    def _watch(self, packed: IO[bytes], rows: Iterator[RawRow]) -> Iterator[RawRow]:
        """Pass rows on and note how much of the file has been read."""
        n_bytes = self.path.stat().st_size or 1
        for number, row in enumerate(rows):
            if number % 100 == 0:
                self.share_read = packed.tell() / n_bytes
            yield row

    def _read_text(self, packed: io.BufferedReader, digest: Any) -> Iterator[RawRow]:
        is_packed = packed.peek(2)[:2] == GZIP_MAGIC
        unpacked = gzip.GzipFile(fileobj=packed) if is_packed else packed
        stream = MeasuredStream(unpacked, digest, self.limits.file_bytes)
        start = stream.read_line(self.limits.line_bytes)
        if start.startswith(UTF16_BOMS):
            raise FileRefused(_("%(path)s is UTF-16: save it as UTF-8"), path=self.path)
        start, n_blank = start.removeprefix(UTF8_BOM), 0
        while start and not start.strip():
            start, n_blank = stream.read_line(self.limits.line_bytes), n_blank + 1
        if start.lstrip().startswith(b"["):
            self.unit = "row"
            yield from self._read_array(start, stream, n_blank)
        elif delimiter := find_delimiter(start.strip(b" \r\n")):
            feed = LineFeed(
                start, lambda: stream.read_line(self.limits.line_bytes), n_blank, n_most=self.limits.line_bytes
            )
            yield from (RawRow(*record) for record in read_delimited(feed, delimiter))
        else:
            yield from self._read_lines(start, stream, n_blank)

    def _read_lines(self, start: bytes, stream: MeasuredStream, n_blank: int) -> Iterator[RawRow]:
        decoder, block, line = StrictDecoder(self.limits.depth), start, n_blank
        while block:
            line += 1
            if len(block) > self.limits.line_bytes and not block.endswith(b"\n"):
                stream.skip_line(self.limits.line_bytes)
                yield RawRow(line, {}, too_long(self.limits.line_bytes))
            elif block.strip():
                yield read_block(block, line, decoder)
            block = stream.read_line(self.limits.line_bytes)

    def _read_array(self, start: bytes, stream: MeasuredStream, n_blank: int) -> Iterator[RawRow]:
        waiting = [b"\n" * n_blank + start]
        window = Window(lambda n_bytes: waiting.pop() if waiting else stream.read(n_bytes))
        values = StrictDecoder(self.limits.depth).decode_array(window, self.limits.line_bytes)
        try:
            for row, (value, problem) in enumerate(values, 1):
                yield check_value(row, value, problem)
        except RowRefused as error:
            raise FileRefused(_("%(path)s is not a JSON array: %(error)s"), path=self.path, error=error) from error

    def _read_parquet(self, packed: IO[bytes], digest: Any) -> Iterator[RawRow]:
        from labeling.domain.intake.parquet import read_parquet  # noqa: PLC0415 -- pyarrow: 30 MB only Parquet files need

        while block := packed.read(2**20):
            digest.update(block)
        for row, value, share in read_parquet(self.path, self.limits.file_bytes, self.limits.line_bytes):
            self.share_read = share
            problem = "" if value is not None else too_long(self.limits.line_bytes)
            yield RawRow(row, value or {}, problem)


class MeasuredStream:
    """Unpacked bytes, hashed and counted as they pass, so that a small file cannot unpack into a huge one."""

    def __init__(self, stream: io.BufferedIOBase, digest: Any, n_allowed: int) -> None:
        self.stream = stream
        self.digest = digest
        self.n_allowed = n_allowed
        self.n_read = 0

    def read_line(self, n_most: int) -> bytes:
        """Return the next line, or its first n_most + 1 bytes."""
        return self._measure(self.stream.readline(n_most + 1))

    def skip_line(self, n_most: int) -> None:
        while (block := self.read_line(n_most)) and not block.endswith(b"\n"):
            pass

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, none at the end."""
        return self._measure(self.stream.read(n_bytes))

    def _measure(self, block: bytes) -> bytes:
        self.n_read += len(block)
        if self.n_read > self.n_allowed:
            raise FileRefused(
                _("the file unpacks to more than %(n_allowed)s bytes: split it"), n_allowed=f"{self.n_allowed:,}"
            )
        self.digest.update(block)
        return block


def too_long(n_most: int) -> Reason:
    return Reason(_("longer than %(n_most)s bytes"), n_most=f"{n_most:,}")


def read_block(block: bytes, line: int, decoder: StrictDecoder) -> RawRow:
    """Return one line as a row, or with the reason why it is none."""
    try:
        value, problem = decoder.decode(block.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RawRow(line, {}, Reason(_("not UTF-8 at byte %(n)s"), n=error.start + 1))
    except RowRefused as error:
        return RawRow(line, {}, error.reason)
    return check_value(line, value, problem)


def check_value(line: int, value: object, problem: str) -> RawRow:
    if not problem and not isinstance(value, dict):
        problem = Reason(_("a row must be a JSON object, got %(kind)s"), kind=type(value).__name__)
    return RawRow(line, value if isinstance(value, dict) and not problem else {}, problem)
