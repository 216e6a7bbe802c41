"""Encoded pairs as the `datasets` tables that TRL's trainers ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from datasets import Dataset
from torch import Tensor

from rlhf.learning.preferences import EncodedPair


def pair_dataset(pairs: Sequence[EncodedPair]) -> Dataset:
    """Return one row a pair, with its fields, its number as row, and n_tokens, the tokens of its longer side."""
    columns = {item.name: [getattr(pair, item.name) for pair in pairs] for item in fields(EncodedPair)}
    return Dataset.from_dict({**columns, "row": list(range(len(pairs))), "n_tokens": [pair.n_tokens for pair in pairs]})


def add_reference_logps(dataset: Dataset, reference_logps: Tensor) -> Dataset:
    """Return the table with TRL's columns ref_chosen_logps and ref_rejected_logps. reference_logps: (n, 2), nats."""
    chosen, rejected = reference_logps.T.tolist()
    return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)
