"""Reward models: how one is loaded, and how it scores rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from rlhf.contract.errors import ContractError
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.models import check_model_folder, pick_device
from rlhf.learning.preferences import EncodedPair

SCORING_TOKENS = 8192


def load_reward_model(folder: str | Path, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> PreTrainedModel:
    """Return the model of a folder with a scalar head, in fp32; a new head is drawn from `seed`.

    Args:
        folder: a reward model, or any decoder to make one of.
        tokenizer: its tokenizer, whose padding token tells where a row ends.
    Raises: ContractError when the padding token is missing or is also the end token.
    """
    check_model_folder(folder)
    require_distinct_pad(tokenizer)
    set_seed(seed)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model.to(pick_device())


def require_distinct_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ContractError unless the tokenizer has a padding token that is not its end token.

    The score is read at the last token that is not padding. If the end token pads, that is the token before it.
    """
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ContractError(
            "the tokenizer needs a padding token of its own, but its pad token is "
            f"{tokenizer.pad_token!r} and its end token {tokenizer.eos_token!r}; add one with "
            "tokenizer.add_special_tokens({'pad_token': '<|pad|>'}), resize the model's embeddings and save both"
        )


def pad_rows(rows: Sequence[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows padded on the right: input_ids (B, T) and attention_mask (B, T)."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return input_ids, attention_mask


@torch.no_grad()
def score_rows(model: PreTrainedModel, rows: Sequence[list[int]]) -> torch.Tensor:
    """Return the raw reward of each row of ids, prompt and completion together: (len(rows),) fp32 on the CPU."""
    scores = torch.zeros(len(rows))
    pad_id = model.config.get_text_config().pad_token_id
    with evaluating(model):
        for batch in batch_by_tokens([len(row) for row in rows], SCORING_TOKENS):
            input_ids, attention_mask = pad_rows([rows[number] for number in batch], pad_id)
            logits = model(
                input_ids=input_ids.to(model.device), attention_mask=attention_mask.to(model.device), use_cache=False
            ).logits
            scores[batch] = logits.squeeze(-1).float().cpu()
    return scores


def reward_differences(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> list[float]:
    """Return the reward of chosen minus that of rejected for each pair, nats."""
    rows = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    scores = score_rows(model, rows).view(-1, 2)  # (n, 2)
    differences: list[float] = (scores[:, 0] - scores[:, 1]).tolist()
    return differences


@contextmanager
def evaluating(*models: torch.nn.Module) -> Iterator[None]:
    """Within this context the models are in eval mode; afterwards in the mode they were in."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
