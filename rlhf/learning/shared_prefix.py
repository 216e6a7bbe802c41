"""Pairs whose two completions share one row, so that their prompt is computed once: prompt | chosen | rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from rlhf.learning.last_layer import last_layer_at
from rlhf.learning.logps import build_batch, completion_logits, head_at
from rlhf.learning.preferences import EncodedPair

# Below this share of tokens spared, the larger attention of the joined row costs more than it spares.
LEAST_SPARED = 0.1
LONGEST_SHARED_ROW = 4096


@dataclass(frozen=True)
class SharedBatch:
    """B pairs as B rows padded on the right; the N completion tokens are listed chosen rows first, then rejected rows.

    input_ids, position_ids: (B, T); positions of rejected begin again where the prompt ends. attention_mask: (B, 1, T, T),
    0 where a token may look and the dtype's minimum elsewhere. rows, predictors: (N,), row and column of the state before
    each completion token. targets: (N,). lengths: (2B,), completion tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    predictors: Tensor
    targets: Tensor
    lengths: Tensor

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Row and column of the last token of each completion, (2B,) each, chosen first."""
        last = self.lengths.cumsum(0) - 1
        n_pairs = len(self.input_ids)
        # Within a completion each token but the first stands one column after its predictor.
        return torch.arange(2 * n_pairs, device=last.device) % n_pairs, self.columns[last]

    @property
    def columns(self) -> Tensor:
        """Column of each completion token: (N,)."""
        first = torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)[:-1]])
        columns = self.predictors + 1
        n_pairs = len(self.input_ids)
        # The first token of rejected stands behind chosen, its predictor before it.
        columns[first[n_pairs:]] += self.lengths[:n_pairs]
        return columns

    def to(self, device: torch.device | str) -> SharedBatch:
        """Return the batch on another device."""
        return SharedBatch(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def build_shared_batch(
    prompts: Sequence[list[int]], chosen: Sequence[list[int]], rejected: Sequence[list[int]], *, pad_id: int
) -> SharedBatch:
    """Return pairs as rows of prompt | chosen | rejected.

    Source: Shared-prefix training of preference pairs, arXiv 2410.20305.
    """
    width = max(len(p) + len(c) + len(r) for p, c, r in zip(prompts, chosen, rejected, strict=True))
    rows = [[*p, *c, *r] for p, c, r in zip(prompts, chosen, rejected, strict=True)]
    input_ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])  # (B, T)
    n_prompt, n_chosen, n_rejected = (
        torch.tensor([len(ids) for ids in part])[:, None] for part in (prompts, chosen, rejected)
    )  # (B, 1)
    column = torch.arange(width)[None]  # (1, T)
    is_rejected = column >= n_prompt + n_chosen  # (B, T), padding included
    position_ids = column - is_rejected * n_chosen
    is_chosen = (column >= n_prompt) & ~is_rejected
    causal = column[:, :, None] >= column[:, None, :]  # (1, T, T), query and key
    may_look = causal & ~(is_rejected[:, :, None] & is_chosen[:, None, :])  # (B, T, T)
    attention_mask = torch.zeros(may_look.shape).masked_fill(~may_look, torch.finfo(torch.float32).min)[:, None]
    sides = (is_chosen, is_rejected & (column < n_prompt + n_chosen + n_rejected))
    places = [side.nonzero(as_tuple=True) for side in sides]
    starts = torch.cat([n_prompt, n_prompt + n_chosen]).squeeze(1)  # (2B,)
    row = torch.cat([place[0] for place in places])
    column_of = torch.cat([place[1] for place in places])  # (N,)
    lengths = torch.cat([n_chosen, n_rejected]).squeeze(1)
    begins = column_of == starts.repeat_interleave(lengths)
    predictors = torch.where(begins, n_prompt.squeeze(1)[row] - 1, column_of - 1)
    return SharedBatch(input_ids, position_ids, attention_mask, row, predictors, input_ids[row, column_of], lengths)


def shared_logits(model: nn.Module, batch: SharedBatch) -> Tensor:
    """Return the logits that predict each completion token of the pairs: (N, V) in fp32, chosen rows first."""
    with head_at(model, (batch.rows, batch.predictors)):
        logits: Tensor = model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
        ).logits
    return logits.float()


def shared_rewards(model: nn.Module, batch: SharedBatch) -> Tensor:
    """Return what each head of a reward model says of the pairs' completions: (2B, K) in fp32, chosen first."""
    ends = batch.ends
    with last_layer_at(model.base_model, ends):  # type: ignore[arg-type]
        hidden = model.base_model(  # type: ignore[operator]
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
        ).last_hidden_state  # (B, T, H)
    rewards: Tensor = model.score(hidden[ends]).float()  # type: ignore[operator]
    return rewards


def has_full_attention(model: nn.Module) -> bool:
    """Say whether every layer attends to the whole row: recurrent and windowed layers would mix chosen into rejected."""
    text_config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    layer_types = getattr(text_config, "layer_types", None)
    if layer_types is None:
        return getattr(text_config, "sliding_window", None) is None
    return set(layer_types) == {"full_attention"}


def spares_enough(pairs: Sequence[EncodedPair]) -> bool:
    """Say whether joined rows are worth it for these pairs: they fit, and a fair share of the tokens is spared."""
    rows = [len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs]
    n_spared = sum(len(pair.prompt_ids) for pair in pairs)
    return max(rows) <= LONGEST_SHARED_ROW and n_spared >= LEAST_SPARED * (sum(rows) + n_spared)


def agrees(compute: Callable[[], Tensor], apart: Tensor) -> bool:
    """Say whether what a model computes of a joined row is what it computes of two rows.

    A model that takes no position_ids, or no attention mask of this form, says so by an error.
    """
    try:
        return torch.allclose(compute(), apart, atol=1e-3, rtol=1e-3)
    except (TypeError, ValueError, RuntimeError):
        return False


@torch.no_grad()
def reads_shared_rows(
    model: nn.Module, prompt: list[int], chosen: list[int], rejected: list[int], *, pad_id: int
) -> bool:
    """Say whether a causal language model gives a joined row the logits of two rows."""
    device = next(model.parameters()).device
    apart = completion_logits(model, build_batch([prompt, prompt], [chosen, rejected], pad_id=pad_id).to(device))
    joined = build_shared_batch([prompt], [chosen], [rejected], pad_id=pad_id).to(device)
    return has_full_attention(model) and agrees(lambda: shared_logits(model, joined), apart)
