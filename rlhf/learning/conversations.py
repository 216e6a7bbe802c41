"""Demonstrations as token ids, and as batches: a row each, or several in one row that do not see each other."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError, RecordError
from rlhf.contract.records import Message, read_conversation, read_rows
from rlhf.learning.logps import CompletionBatch, completion_logits, head_at
from rlhf.learning.packing import fill_bins, mask_others, pad_right
from rlhf.learning.shared_prefix import agrees, has_full_attention
from rlhf.learning.tokenization import EncodedConversation, encode_conversation


@dataclass(frozen=True)
class EncodedConversations:
    """The conversations of one file, and what their length cost.

    n_dropped: left out, since no word of the assistant was left. n_cut: lost their oldest turns. n_cut_end: lost the end
    of their last answer.
    """

    conversations: list[EncodedConversation]
    n_dropped: int
    n_cut: int
    n_cut_end: int


@dataclass(frozen=True)
class PackedBatch:
    """Rows of several conversations, padded on the right. Each sees itself alone, from position 0 on.

    input_ids, position_ids: (B, T). completion_mask: (B, T) bool, True at tokens to be predicted. attention_mask:
    (B, 1, T, T), 0 where a token may look and the dtype's minimum elsewhere.
    """

    input_ids: Tensor
    position_ids: Tensor
    completion_mask: Tensor
    attention_mask: Tensor

    @property
    def targets(self) -> Tensor:
        """The tokens to be predicted, row by row: (N,)."""
        return self.input_ids[self.completion_mask]

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the batch on another device."""
        return PackedBatch(*(part.to(device) for part in vars(self).values()))


def load_conversations(path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedConversations:
    """Return the conversations of a JSONL file, in any of the spellings that `read_conversation` knows.

    Raises: RecordError naming the line; ContractError when none is left.
    """
    encoded = encode_conversations(read_messages(path), tokenizer, max_length=max_length)
    if not encoded.conversations:
        raise ContractError(
            f"{path.name}: no conversation has an answer within max_length={max_length}; raise max_length"
        )
    return encoded


def read_messages(path: Path) -> Iterable[list[Message]]:
    """Yield the conversation of each row. Raises: RecordError naming file and line."""
    for number, row in enumerate(read_rows(path), 1):
        try:
            yield read_conversation(row)
        except RecordError as error:
            raise RecordError(f"{path.name} line {number}: {error}") from error


def encode_conversations(
    rows: Iterable[list[Message]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> EncodedConversations:
    """Return conversations as ids; one without a word of the assistant teaches nothing and is left out."""
    return keep_usable([encode_conversation(tokenizer, messages, max_length) for messages in rows])


def keep_usable(encoded: list[EncodedConversation]) -> EncodedConversations:
    """Return those with something to learn, and what length cost; nothing stands before a first token to predict it."""
    usable = [conversation for conversation in encoded if any(conversation.loss_mask[1:])]
    return EncodedConversations(
        usable,
        n_dropped=len(encoded) - len(usable),
        n_cut=sum(conversation.lost_turns for conversation in usable),
        n_cut_end=sum(conversation.lost_end for conversation in usable),
    )


def encode_written(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, max_length: int, among: Container[int] | None = None
) -> EncodedConversations:
    """Return the texts and conversations of a JSONL file, each of which has something to learn within max_length tokens.

    among: the lines that are read, from 1 on; None reads them all. Raises: RecordError naming the line.
    """
    encoded = []
    for number, row in enumerate(read_rows(path), 1):
        if among is not None and number not in among:
            continue
        try:
            encoded.append(encode_row(tokenizer, row, max_length))
        except RecordError as error:
            raise RecordError(f"{path.name} line {number}: {error}") from error
    return keep_usable(encoded)


def encode_row(tokenizer: PreTrainedTokenizerBase, row: Any, max_length: int) -> EncodedConversation:
    """Return a conversation in any of its spellings, of which the assistant's words are learned, or a text, learned whole.

    Raises: RecordError.
    """
    is_text = isinstance(row, dict) and isinstance(row.get("text"), str) and "messages" not in row
    if not is_text:
        return encode_conversation(tokenizer, read_conversation(row), max_length)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]  # as texts stand in pre-training
    ids = [*start, *tokenizer.encode(row["text"], add_special_tokens=False), tokenizer.eos_token_id]
    kept = ids[:max_length]
    return EncodedConversation(kept, [True] * len(kept), lost_end=len(ids) > max_length)


def build_conversation_batch(conversations: Sequence[EncodedConversation], pad_id: int) -> CompletionBatch:
    """Return the conversations padded on the right; the assistant's tokens are what is to be predicted."""
    input_ids = pad_right([conversation.ids for conversation in conversations], fill=pad_id)  # (B, T)
    mask = pad_right([[int(flag) for flag in conversation.loss_mask] for conversation in conversations], fill=0).bool()
    mask[:, 0] = False  # nothing stands before the first token to predict it
    return CompletionBatch(input_ids, mask)


def pack_conversations(conversations: Sequence[EncodedConversation], pad_id: int, *, length: int) -> PackedBatch:
    """Return the conversations in as few rows of at most `length` tokens as they fit in.

    Another layout of the same batch: losses and gradients are those of a row each, to rounding.
    """
    rows = fill_bins([len(conversation.ids) for conversation in conversations], length)
    packed: list[list[list[int]]] = [[], [], [], []]
    for row in rows:
        members = [conversations[number] for number in row]
        packed[0].append([token for member in members for token in member.ids])
        packed[1].append([place for member in members for place in range(len(member.ids))])
        packed[2].append([int(flag and place > 0) for member in members for place, flag in enumerate(member.loss_mask)])
        packed[3].append([number for number, member in enumerate(members) for _ in member.ids])
    ids, places, flags, owners = (
        pad_right(part, fill=fill) for part, fill in zip(packed, (pad_id, 0, 0, -1), strict=True)
    )
    return PackedBatch(ids, places, flags.bool(), mask_others(owners))  # padding looks at padding


def packed_logits(model: nn.Module, batch: PackedBatch) -> Tensor:
    """Return the logits that predict each target: (N, V) in fp32, row by row."""
    predicting = nn.functional.pad(batch.completion_mask[:, 1:], (0, 1))
    with head_at(model, predicting):
        logits: Tensor = model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
        ).logits
    return logits.float()


@torch.no_grad()
def require_packable(model: Any, conversations: Sequence[EncodedConversation], pad_id: int) -> None:
    """Raise ContractError unless the model reads two conversations in one row as it reads them apart."""
    two = sorted(conversations[:2], key=lambda conversation: -len(conversation.ids))  # the order they are packed in
    apart = torch.cat(
        [completion_logits(model, build_conversation_batch([one], pad_id).to(model.device)) for one in two]
    )
    packed = pack_conversations(two, pad_id, length=sum(len(one.ids) for one in two)).to(model.device)
    if not (has_full_attention(model) and agrees(lambda: packed_logits(model, packed), apart)):
        raise ContractError(
            f"{type(model).__name__} does not keep conversations in one row apart: set packing=off, or take a model whose "
            "layers all attend to the whole row"
        )
