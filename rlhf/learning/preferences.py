"""Preference rows as token ids: what the reward model and DPO both learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.records import Message, PreferenceRow, read_rows
from rlhf.learning.models import find_ends
from rlhf.learning.tokenization import encode_prompt

ROWS_RENDERED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One comparison as ids. A row the model reads is prompt_ids + chosen_ids, or prompt_ids + rejected_ids.

    target: p(chosen is better). weight: >= 0. margin: 0..1. *_chars: characters of the completion's text. source: whose
    judgment it is, and slice: what its prompt is about; both empty when the row does not say. line: its
    place in the file, from 1; 0 where it is of none.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    target: float
    weight: float
    margin: float
    chosen_chars: int
    rejected_chars: int
    source: str = ""
    slice: str = ""
    line: int = field(default=0, compare=False)

    @property
    def n_tokens(self) -> int:
        """Tokens of the longer of the two rows."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True)
class EncodedPairs:
    """The pairs of one file, and what their length cost: rows dropped, prompts that lost turns."""

    pairs: list[EncodedPair]
    n_dropped: int
    n_cut: int


class EncodedAnswer(NamedTuple):
    """A prompt and an answer as ids. is_cut: whether either was too long."""

    prompt_ids: list[int]
    ids: list[int]
    is_cut: bool


def weigh_prompts(pairs: list[EncodedPair]) -> list[EncodedPair]:
    """Return the pairs with weights that sum to the same for every prompt, and to what they summed to in all.

    Of K completions ranked by a person, C(K,2) pairs tell the same story: unweighted, a prompt with many completions is
    learned by heart while others are still read.

    Source: InstructGPT, arXiv 2203.02155 section 3.5, eq. 1.
    """
    totals: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for pair in pairs:
        totals[tuple(pair.prompt_ids)] += pair.weight
    share = sum(pair.weight for pair in pairs) / max(1, sum(total > 0 for total in totals.values()))
    return [
        replace(pair, weight=pair.weight * share / total) if (total := totals[tuple(pair.prompt_ids)]) else pair
        for pair in pairs
    ]


def load_pairs(path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedPairs:
    """Return the rows of a JSONL file of PreferenceRow as ids. Raises: RecordError; ContractError when none is left."""
    encoded = encode_pairs(read_rows(path), tokenizer, max_length=max_length)
    if not encoded.pairs:
        raise ContractError(
            f"{path.name}: no row fits in max_length={max_length} ({encoded.n_dropped} were too long); raise max_length"
        )
    return encoded


def encode_pairs(rows: Iterable[PreferenceRow], tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedPairs:
    """Return the rows as ids, each of at most `max_length` tokens.

    Prompts lose their oldest turns whole. A row whose completions leave no room for the chat template is dropped: a
    completion is never cut, because people judged the whole of it.
    """
    pairs: list[EncodedPair] = []
    n_dropped = n_cut = 0
    ends = find_ends(tokenizer)
    for line, (row, prompt_ids, whole_chosen, whole_rejected) in enumerate(render_rows(rows, tokenizer), 1):
        chosen_ids = cut_completion(whole_chosen, prompt_ids, ends=ends)
        rejected_ids = cut_completion(whole_rejected, prompt_ids, ends=ends)
        room = max_length - max(len(chosen_ids), len(rejected_ids))
        fitted = fit_prompt(tokenizer, row["prompt"], prompt_ids, whole_chosen, room=room)
        if fitted is None:
            n_dropped += 1
            continue
        n_cut += len(prompt_ids) > room
        pairs.append(replace(build_pair(row, fitted, chosen_ids, rejected_ids), line=line))
    return EncodedPairs(pairs, n_dropped, n_cut)


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, prompt: list[Message], text: str, *, is_finished: bool, max_length: int
) -> EncodedAnswer:
    """Return a prompt and an answer as the ids of a pair's row have them: at most `max_length` in all.

    An answer that was cut off comes without the end token. One that leaves no room for the prompt, such as training
    leaves out, loses its end.
    """
    (prompt_ids,) = render_many(tokenizer, [prompt], add_generation_prompt=True)
    (whole,) = render_many(tokenizer, [[*prompt, Message(role="assistant", content=text)]])
    ids = cut_completion(whole, prompt_ids, ends=find_ends(tokenizer))
    fitted = fit_prompt(tokenizer, prompt, prompt_ids, whole, room=max_length - len(ids))
    is_cut = len(prompt_ids) > max_length - len(ids)
    if fitted is None:
        fitted = prompt_ids[: max_length // 2]
    return EncodedAnswer(fitted, (ids if is_finished else ids[:-1])[: max_length - len(fitted)], is_cut)


def fit_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: list[Message], prompt_ids: list[int], whole: list[int], *, room: int
) -> list[int] | None:
    """Return the ids of a prompt that leave off where its completion begins, at most `room` of them; None if none fit.

    Args: prompt_ids: of the prompt alone. whole: of the prompt and a completion.
    """
    # What the template writes at the end of a prompt alone, and otherwise once an answer follows.
    overhang = len(prompt_ids) - count_common_prefix(prompt_ids, whole)
    if len(prompt_ids) > room:
        try:
            prompt_ids = encode_prompt(tokenizer, prompt, room)
        except ContractError:
            return None
    return prompt_ids[: len(prompt_ids) - overhang]


def render_rows(
    rows: Iterable[PreferenceRow], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[PreferenceRow, list[int], list[int], list[int]]]:
    """Yield each row with the ids of its prompt, and of its prompt with either completion.

    Many rows are rendered at once: by themselves they would cost half of what training on them does.
    """
    remaining = iter(rows)
    while chunk := list(islice(remaining, ROWS_RENDERED_AT_ONCE)):
        prompts = render_many(tokenizer, [row["prompt"] for row in chunk], add_generation_prompt=True)
        chosen = render_many(tokenizer, [[*row["prompt"], *row["chosen"]] for row in chunk])
        rejected = render_many(tokenizer, [[*row["prompt"], *row["rejected"]] for row in chunk])
        yield from zip(chunk, prompts, chosen, rejected, strict=True)


def render_many(
    tokenizer: PreTrainedTokenizerBase, conversations: list[list[Message]], *, add_generation_prompt: bool = False
) -> list[list[int]]:
    """Return the ids of the chat template's text of each conversation."""
    texts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=add_generation_prompt)
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def cut_completion(ids: list[int], prompt_ids: list[int], *, ends: Sequence[int]) -> list[int]:
    """Return the ids a policy would have to emit after the prompt, up to and with the token that ends it.

    What the template writes after that is left out, since sampling stops there too and the reward model must see in
    training what it will see in use. A template without such a token gets one.

    Args: ids: the whole conversation. prompt_ids: the prompt alone, generation prompt included. ends: of `find_ends`.
    """
    completion_ids = ids[count_common_prefix(prompt_ids, ids) :]
    for end_id in ends:
        if end_id in completion_ids:
            return completion_ids[: len(completion_ids) - completion_ids[::-1].index(end_id)]
    return [*completion_ids, ends[0]]


def build_pair(
    row: PreferenceRow, prompt_ids: list[int], chosen_ids: list[int], rejected_ids: list[int]
) -> EncodedPair:
    """Return the pair with the defaults of the columns that the row leaves out."""
    return EncodedPair(
        prompt_ids=prompt_ids,
        chosen_ids=chosen_ids,
        rejected_ids=rejected_ids,
        target=float(row.get("target", 1.0)),
        weight=float(row.get("weight", 1.0)),
        margin=float(row.get("margin", 0.0)),
        chosen_chars=sum(len(message["content"]) for message in row["chosen"]),
        rejected_chars=sum(len(message["content"]) for message in row["rejected"]),
        slice=row.get("slice", ""),
        source=str(row.get("source", "")),
    )


def count_common_prefix(left: list[int], right: list[int]) -> int:
    """Return how many leading ids the two lists share."""
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return number
    return min(len(left), len(right))
