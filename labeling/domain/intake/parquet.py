"""The rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
from django.utils.translation import gettext_noop as _

from labeling.domain.intake.refusals import FileRefused

BATCH_ROWS = 200
NUMBER_BYTES = 8
TEXT_KINDS = (
    *(pyarrow.types.is_string, pyarrow.types.is_large_string),
    *(pyarrow.types.is_binary, pyarrow.types.is_large_binary),
)
TEXTS = ("NONE", "STRING", "JSON", "ENUM")


def read_parquet(
    path: Path, n_bytes_allowed: int, n_row_bytes: int
) -> Iterator[tuple[int, dict[str, Any] | None, float]]:
    """Yield each row's number, the row or None where it has more than n_row_bytes, and how much of the file is behind it.

    A text that stands once in a dictionary may stand in every row: columns are read as dictionaries, and a row is
    measured before it is made. Raises: FileRefused when the file is broken or unpacks to more than n_bytes_allowed.
    """
    too_far = f"the file unpacks to more than {n_bytes_allowed:,} bytes: split it"
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = list_texts(file)
            if count_bytes(file) > n_bytes_allowed:
                raise FileRefused(too_far)
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            number, n_bytes, n_rows = 0, 0, file.metadata.num_rows
            for batch in file.iter_batches(BATCH_ROWS):
                n_bytes += measure(batch.to_struct_array())
                if n_bytes > n_bytes_allowed:
                    raise FileRefused(too_far)
                for row in make_rows(batch, n_row_bytes):
                    number += 1
                    yield number, row, number / n_rows
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise FileRefused(_("%(path)s cannot be read as Parquet: %(error)s"), path=path, error=error) from error


def list_texts(file: pyarrow.parquet.ParquetFile) -> list[str]:
    """Return the paths of the columns that hold text, in lists and structs, too."""
    columns = [file.schema.column(number) for number in range(len(file.schema))]
    return [row.path for row in columns if row.physical_type == "BYTE_ARRAY" and row.logical_type.type in TEXTS]


def count_bytes(file: pyarrow.parquet.ParquetFile) -> int:
    """Return what a file's pages unpack to, or its values where they are repeated in a few bytes. Raises: FileRefused."""
    widths = [max(file.schema.column(number).length or 0, NUMBER_BYTES) for number in range(len(file.schema))]
    n_packed = n_values = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        n_packed += group.total_byte_size
        for column, width in enumerate(widths):
            chunk = group.column(column)
            n_values += chunk.num_values * width
            if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a few bytes say how much of the text before comes again
                raise FileRefused(_("columns in the encoding DELTA_BYTE_ARRAY are not read: write them in another one"))
    return max(n_packed, n_values)


def make_rows(batch: pyarrow.RecordBatch, n_row_bytes: int) -> Iterator[dict[str, Any] | None]:
    """Yield the rows of a batch; only one that is small is made at once."""
    rows = batch.to_struct_array()
    if measure(rows) <= n_row_bytes:
        yield from batch.to_pylist()
        return
    for number in range(len(rows)):
        row = rows.slice(number, 1)
        yield row.to_pylist()[0] if measure(row) <= n_row_bytes else None


def measure(array: pyarrow.Array) -> int:
    """Return how many bytes the values of an array come to, each one counted wherever it stands."""
    if isinstance(array, pyarrow.ExtensionArray):
        return measure(array.storage)
    if isinstance(array, pyarrow.StructArray):
        return sum(measure(child) for child in array.flatten())
    if isinstance(array, pyarrow.MapArray):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return sum(measure(part.slice(first, last - first)) for part in (array.keys, array.items))
    if isinstance(array, (pyarrow.ListArray, pyarrow.LargeListArray, pyarrow.FixedSizeListArray)):
        return measure(array.flatten())
    if isinstance(array, pyarrow.DictionaryArray):
        return measure_dictionary(array)
    return int(array.nbytes)


def measure_dictionary(array: pyarrow.DictionaryArray) -> int:
    if not any(is_kind(array.dictionary.type) for is_kind in TEXT_KINDS):
        return len(array) * NUMBER_BYTES
    lengths = pyarrow.compute.binary_length(array.dictionary)
    return int(pyarrow.compute.sum(lengths.take(array.indices)).as_py() or 0)
