"""Pairs in packs that hold all pairs of a prompt: one pack, one optimizer step.

Of K completions ranked by a person come C(K,2) pairs that tell the same story. Spread over an epoch, each completion moves
the model K - 1 times and is learned by heart; together they move it once.

Source: InstructGPT, arXiv 2203.02155 section 3.5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor

from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.preferences import EncodedPair


def pack_prompts(pairs: Sequence[EncodedPair], *, size: int, seed: int) -> list[list[int]]:
    """Return the numbers of all pairs in packs of at most `size`, the pairs of a prompt together, prompts of like length too.

    A prompt with more pairs than `size` is a pack by itself, and larger. The packs are a function of the pairs and the seed.
    """
    by_prompt: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        by_prompt[tuple(pair.prompt_ids)].append(number)
    prompts = list(by_prompt.values())
    longest = [max(pairs[number].n_tokens for number in numbers) for numbers in prompts]
    packs: list[list[int]] = []
    for place in LengthGroupedOrder(longest, batch_size=size, seed=seed):
        if packs and len(packs[-1]) + len(prompts[place]) <= size:
            packs[-1] += prompts[place]
        else:
            packs.append(list(prompts[place]))
    return packs


def pack_dataset(packs: Sequence[Sequence[int]]) -> Dataset:
    """Return one row a pack, with the numbers of its pairs as `rows`."""
    return Dataset.from_dict({"rows": [list(pack) for pack in packs]})


class PackBatch:
    """Collator for packs: hands the pairs they name to the collator of pairs.

    Args: pairs: the table of `pair_dataset`. collate: a collator of its rows.
    """

    def __init__(self, pairs: Dataset, collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]]) -> None:
        self.pairs = pairs
        self.collate = collate

    def __call__(self, packs: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        return self.collate([self.pairs[number] for pack in packs for number in pack["rows"]])
