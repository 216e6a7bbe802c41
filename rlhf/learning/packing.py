"""Documents joined into rows of one length, so that pre-training spends nothing on padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

IGNORED = -100


def pack_rows(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, length: int) -> Tensor:
    """Return all texts, each between its start and end token, as rows of `length` inputs and their next tokens.

    A row begins with the last token of the row before, so every token but the first is predicted once. The last row is
    filled with padding. Documents in one row see each other, unless `part_documents` parts them.

    Returns: (n_rows, length + 1) token ids; row[:-1] are the inputs of row[1:].
    """
    stream = [tokenizer.bos_token_id]
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        stream += [*ids, tokenizer.eos_token_id, tokenizer.bos_token_id]
    stream.pop()
    n_rows = max(1, -(-(len(stream) - 1) // length))
    stream += [tokenizer.pad_token_id] * (n_rows * length + 1 - len(stream))
    return torch.tensor(stream).unfold(0, length + 1, length).contiguous()


def part_documents(inputs: Tensor, bos_id: int) -> dict[str, Tensor]:
    """Return what makes the documents of packed rows blind to each other: positions from their start on, and a mask.

    A document that a row's end cut goes on in the next row as if it began there.

    Args: inputs: (B, T) token ids; a document begins at each start token.
    Returns: position_ids (B, T) and attention_mask (B, 1, T, T), 0 where a token may look, the dtype's minimum elsewhere.
    """
    column = torch.arange(inputs.shape[1], device=inputs.device)
    begins = inputs == bos_id
    begins[:, 0] = True
    owners = begins.cumsum(1)  # (B, T)
    starts = torch.where(begins, column, 0).cummax(1).values  # (B, T)
    return {"position_ids": column - starts, "attention_mask": mask_others(owners)}


def mask_others(owners: Tensor) -> Tensor:
    """Return the causal mask within which tokens of one owner see each other. owners: (B, T). Returns: (B, 1, T, T)."""
    column = torch.arange(owners.shape[1], device=owners.device)
    may_look = (column[:, None] >= column) & (owners[:, :, None] == owners[:, None, :])  # (B, T, T), query and key
    mask = torch.zeros(may_look.shape, device=owners.device)
    return mask.masked_fill(~may_look, torch.finfo(torch.float32).min)[:, None]


def fill_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return item numbers in bins of at most `capacity`, each item in the first bin that has room, longest items first.

    It needs at most 11/9 of the fewest bins possible, and one more (first fit decreasing, Johnson 1973).
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        for number, left in enumerate(room):
            if lengths[item] <= left:
                bins[number].append(item)
                room[number] -= lengths[item]
                break
        else:
            bins.append([item])
            room.append(capacity - lengths[item])
    return bins


def mask_padding(targets: Tensor, pad_id: int) -> Tensor:
    """Return the targets with padding replaced by what the loss ignores."""
    return targets.masked_fill(targets == pad_id, IGNORED)


def pad_right(rows: Iterable[list[int]], *, fill: int) -> Tensor:
    """Return the rows as one matrix, filled up on the right: (B, T)."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill)
