"""Rows of single completions, good or bad, as token ids: what KTO learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.records import UnpairedRow, read_rows, read_unpaired
from rlhf.learning.models import find_ends
from rlhf.learning.preferences import ROWS_RENDERED_AT_ONCE, cut_completion, fit_prompt, render_many


@dataclass(frozen=True, slots=True)
class EncodedCompletion:
    """One judged completion as ids. label: whether it is good. weight: >= 0."""

    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool
    weight: float

    @property
    def n_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class EncodedCompletions:
    """The completions of one file, and what their length cost: rows dropped, prompts that lost turns."""

    completions: list[EncodedCompletion]
    n_dropped: int
    n_cut: int


def load_unpaired(path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedCompletions:
    """Return the rows of a JSONL file of UnpairedRow, or of PreferenceRow taken apart, as ids.

    Raises: RecordError; ContractError when none is left.
    """
    rows = (unpaired for row in read_rows(path) for unpaired in read_unpaired(row))
    encoded = encode_unpaired(rows, tokenizer, max_length=max_length)
    if not encoded.completions:
        raise ContractError(
            f"{path.name}: no row fits in max_length={max_length} ({encoded.n_dropped} were too long); raise max_length"
        )
    return encoded


def encode_unpaired(
    rows: Iterable[UnpairedRow], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> EncodedCompletions:
    """Return the rows as ids of at most `max_length` tokens: prompts lose turns, completions are kept whole or dropped."""
    completions: list[EncodedCompletion] = []
    n_dropped = n_cut = 0
    ends = find_ends(tokenizer)
    for row, prompt_ids, whole in render_unpaired(rows, tokenizer):
        completion_ids = cut_completion(whole, prompt_ids, ends=ends)
        room = max_length - len(completion_ids)
        fitted = fit_prompt(tokenizer, row["prompt"], prompt_ids, whole, room=room)
        if fitted is None:
            n_dropped += 1
            continue
        n_cut += len(prompt_ids) > room
        completions.append(EncodedCompletion(fitted, completion_ids, bool(row["label"]), float(row.get("weight", 1.0))))
    return EncodedCompletions(completions, n_dropped, n_cut)


def render_unpaired(
    rows: Iterable[UnpairedRow], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Any, list[int], list[int]]]:
    """Yield each row with the ids of its prompt, and of prompt and completion together."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, ROWS_RENDERED_AT_ONCE)):
        prompts = render_many(tokenizer, [row["prompt"] for row in chunk], add_generation_prompt=True)
        wholes = render_many(tokenizer, [[*row["prompt"], *row["completion"]] for row in chunk])
        yield from zip(chunk, prompts, wholes, strict=True)
