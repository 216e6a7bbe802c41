"""The rows of a CSV or TSV file: the header names the columns, and every value is text."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator

from django.utils.translation import gettext_noop as _

from labeling.domain.content import UNSTORABLE
from labeling.domain.intake.refusals import FileRefused, Reason

DELIMITERS = (",", "\t", ";")
MAX_COLUMNS = 1000
# Python's own limit, 131,072 characters, is for the whole process; ours is the line's, which LineFeed keeps.
csv.field_size_limit(2**31 - 1)

Record = tuple[int, dict[str, str], str]  # line, value, problem


def find_delimiter(header: bytes) -> str:
    """Return what separates the columns of a header line, or "" when it is none."""
    if header[:1] in (b"{", b"["):
        return ""
    counts = {delimiter: header.count(delimiter.encode()) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    return best if counts[best] else ""


class LineFeed:
    """Decoded lines for the csv reader, which knows where a record began and how much of it there is."""

    def __init__(self, start: bytes, read_line: Callable[[], bytes], n_blank: int, n_most: int) -> None:
        self.block = start
        self.read_line = read_line
        self.line = n_blank
        self.n_most = n_most
        self.n_record = 0
        self.first = n_blank + 1

    def __iter__(self) -> Iterator[str]:
        while self.block:
            self.line += 1
            self.n_record += len(self.block)
            if self.n_record > self.n_most:
                raise FileRefused(
                    _(
                        "the row that begins on line %(first)s is longer than %(n_most)s bytes: "
                        "is a quotation mark not closed?"
                    ),
                    first=self.first,
                    n_most=f"{self.n_most:,}",
                )
            try:
                text = self.block.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FileRefused(_("not UTF-8 on line %(line)s: save the file as UTF-8"), line=self.line) from error
            self.block = self.read_line()
            yield text

    def begin_record(self) -> int:
        """Return the line the record just read began on; the next one begins after it."""
        began, self.first, self.n_record = self.first, self.line + 1, 0
        return began


def read_delimited(feed: LineFeed, delimiter: str) -> Iterator[Record]:
    """Yield each record. Raises: FileRefused where the file stops being one of rows and columns."""
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    try:
        header = read_header(next(reader))
        feed.begin_record()
        for fields in reader:
            line = feed.begin_record()
            if not fields:
                continue
            if len(fields) != len(header):
                words = {"n": len(fields), "n_named": len(header)}
                yield line, {}, Reason(_("has %(n)s fields where the header names %(n_named)s columns"), **words)
            else:
                yield line, dict(zip(header, fields, strict=True)), ""
    except csv.Error as error:
        raise FileRefused(_("not readable from line %(first)s on: %(error)s"), first=feed.first, error=error) from error


def read_header(fields: list[str]) -> list[str]:
    """Return the names of the columns; one without a name goes by its number."""
    if len(fields) > MAX_COLUMNS:
        raise FileRefused(
            _("the header names %(n)s columns; at most %(n_most)s are read"),
            n=f"{len(fields):,}",
            n_most=f"{MAX_COLUMNS:,}",
        )
    names = [field.strip() or f"column {number}" for number, field in enumerate(fields, 1)]
    if any(UNSTORABLE.search(name) for name in names):
        raise FileRefused(_("a column's name holds a character that cannot be stored, such as NUL: rename it"))
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise FileRefused(_("two columns are named %(repeated)s: rename one"), repeated=repr(repeated))
    return names
