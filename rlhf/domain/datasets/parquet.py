"""Rows as Parquet, with the schema said and not guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from rlhf.models import Dataset

ROWS_PER_GROUP = 1000
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
COLUMNS = {
    Dataset.Kind.PREFERENCE.value: {
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "margin": pa.float64(),
        "weight": pa.float64(),
        "target": pa.float64(),
        "group": pa.string(),
        "source": pa.string(),
        "slice": pa.string(),
        "annotator_kind": pa.string(),
    },
    Dataset.Kind.DEMONSTRATION.value: {"messages": MESSAGES, "source": pa.string(), "annotator_kind": pa.string()},
    Dataset.Kind.TEXT.value: {"text": pa.string()},
    Dataset.Kind.PROMPT.value: {"prompt_id": pa.string(), "prompt": MESSAGES},
}


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], *, kind: str, columns: Collection[str]) -> None:
    """Write rows of one kind of dataset. columns: those that any row has; a row without one of them has none there."""
    waiting = iter(rows)
    chunk = list(islice(waiting, ROWS_PER_GROUP))
    schema = pa.schema([(name, type) for name, type in COLUMNS[kind].items() if name in columns])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            chunk = list(islice(waiting, ROWS_PER_GROUP))
