"""The prompts of a run that draws completions: their ids, what the ids say, and what their length cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from rlhf.contract.records import Message, PromptRow
from rlhf.learning.tokenization import cut_prompt


@dataclass(frozen=True)
class PromptSet:
    """ids: of each prompt, in the order of the rows.

    conversations: what each list of ids says, a prompt that was too long as it was cut: a completion answers that, and is
    judged as an answer to that. n_cut: were too long and lost something. n_alike: became what another prompt is, too.
    """

    ids: list[list[int]] = field(default_factory=list)
    conversations: dict[tuple[int, ...], list[Message]] = field(default_factory=dict)
    n_cut: int = 0
    n_alike: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """What a run says of its prompts when it is over."""
        return {"n_prompts": len(self.ids), "n_cut": self.n_cut, "n_alike": self.n_alike}


def read_prompts(tokenizer: PreTrainedTokenizerBase, rows: Sequence[PromptRow], max_tokens: int) -> PromptSet:
    """Return the prompts of rows as `tokenization.encode_prompt` cuts them.

    Raises: ContractError when max_tokens does not even hold the template.
    """
    found, n_cut = PromptSet(), 0
    written: dict[tuple[int, ...], set[str]] = {}
    for row in rows:
        ids, kept = cut_prompt(tokenizer, row["prompt"], max_tokens)
        found.ids.append(ids)
        found.conversations[tuple(ids)] = kept
        n_cut += kept != row["prompt"]
        written.setdefault(tuple(ids), set()).add(repr(row["prompt"]))
    n_alike = sum(len(prompts) for prompts in written.values() if len(prompts) > 1)
    return PromptSet(found.ids, found.conversations, n_cut=n_cut, n_alike=n_alike)
