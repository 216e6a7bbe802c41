"""The rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from labeling.domain.intake.refusals import FileRefused

BATCH_ROWS = 200


def read_parquet(path: Path, n_bytes_allowed: int) -> Iterator[dict[str, Any]]:
    """Yield each row. Raises: FileRefused when the file is broken or unpacks to more than n_bytes_allowed."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > n_bytes_allowed:
                raise FileRefused(f"the file unpacks to more than {n_bytes_allowed:,} bytes: split it")
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise FileRefused(f"{path} cannot be read as Parquet: {error}") from error
