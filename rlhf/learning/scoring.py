"""Reward models: how one is loaded, and how it scores rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from rlhf.contract.errors import ContractError
from rlhf.contract.model_folder import check_model_folder, gives_scores
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.lean import make_lean
from rlhf.learning.models import pick_device
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.token_scorer import TokenScorer, is_token_scorer, load_token_scorer

SCORING_TOKENS = 8192
POSITION_TABLES = ("position_embeddings", ".wpe")
# Roles are words: an encoder has no tokens for them. Each turn ends with the token that its pre-training ended texts with.
ENCODER_TEMPLATE = (
    "{{ cls_token }}"
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


class Ensemble(NamedTuple):
    """What counts of several heads: mean, min, or cautious, the mean less coef standard deviations.

    No head that was fooled can raise the least of them; it raises a cautious reward by little, for it lies apart.
    Source: arXiv 2310.02743 section 3, worst case and uncertainty-weighted; there the variance is taken, here its root,
    which is in the units of the scores, so that one coef serves every reward model.
    """

    name: str = "mean"
    coef: float = 1.0

    def join(self, by_head: torch.Tensor) -> torch.Tensor:
        """Return one score a row. by_head: (B, K). Returns: (B,)."""
        if self.name == "min":
            return by_head.amin(1)
        mean = by_head.mean(1)
        return mean - self.coef * by_head.std(1, correction=0) if self.name == "cautious" else mean


def load_reward_model(
    folder: str | Path, tokenizer: PreTrainedTokenizerBase, *, seed: int, n_heads: int = 1
) -> PreTrainedModel:
    """Return the model of a folder with one or more scalar heads, in fp32; new heads are drawn from `seed`.

    Args:
        folder: a reward model, whose heads it keeps, or any decoder or encoder to make one of.
        tokenizer: its tokenizer, whose padding token tells where a row ends.
        n_heads: heads of a new reward model; several are an ensemble over one trunk.
    Raises: ContractError when the padding token is missing or is also the end token.
    """
    check_model_folder(Path(folder))
    require_distinct_pad(tokenizer)
    if is_token_scorer(folder):
        return with_pad(load_token_scorer(folder), tokenizer)
    set_seed(seed)
    heads = {} if is_reward_model(folder) else {"num_labels": n_heads}
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder, **heads, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return with_pad(make_lean(model).to(pick_device()), tokenizer)


def with_pad(model: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return the model, told which token pads: the score is read before it."""
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model


def load_scoring_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a reward model, or of a model to make one of.

    An encoder's tokenizer seldom has a chat template or an end token: it gets one of each, which are saved with the
    reward model.

    Raises: ContractError when it has no padding token of its own, or neither an end nor a separator token.
    """
    check_model_folder(Path(folder))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.eos_token is None and tokenizer.sep_token is not None:
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.eos_token is None:
        raise ContractError(f"the tokenizer in {folder} has no eos_token; set one in its tokenizer_config.json")
    require_distinct_pad(tokenizer)
    if not tokenizer.chat_template and tokenizer.cls_token is not None:
        tokenizer.chat_template = ENCODER_TEMPLATE
    return tokenizer


def is_reward_model(folder: str | Path) -> bool:
    """Return whether a model folder holds scalar heads. Raises: ContractError when it is no model folder."""
    check_model_folder(Path(folder))
    return gives_scores(Path(folder))


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


def require_positions(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> None:
    """Raise ContractError when a row is longer than the model's table of positions; models without one have no limit."""
    longest = max((pair.n_tokens for pair in pairs), default=0)
    for name, table in model.named_modules():
        if isinstance(table, torch.nn.Embedding) and name.endswith(POSITION_TABLES):
            # RoBERTa and its kin count positions from behind their padding id.
            room = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
            if longest > room:
                raise ContractError(
                    f"a row of {longest} tokens exceeds the {room} positions of {type(model).__name__}; set "
                    f"max_length={room} or lower"
                )


def pad_rows(rows: Sequence[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows padded on the right: input_ids (B, T) and attention_mask (B, T)."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return input_ids, attention_mask


def score_rows(model: PreTrainedModel, rows: Sequence[list[int]]) -> torch.Tensor:
    """Return the raw reward of each row of ids, the mean of its heads: (len(rows),) fp32 on the CPU."""
    return score_heads(model, rows).mean(1)


def score_heads(
    model: PreTrainedModel, rows: Sequence[list[int]], *, starts: Sequence[int] | None = None
) -> torch.Tensor:
    """Return what each head says of each row of ids, prompt and completion together: (len(rows), K) fp32 on the CPU.

    Args: starts: where the completions begin, for a scorer of tokens; else it looks for the template's opening.
    """
    scores = torch.zeros(len(rows), model.config.num_labels)
    for batch, heads in read_rows(model, rows, starts=starts):
        scores[batch] = heads
    return scores


@torch.no_grad()
def read_rows(
    model: PreTrainedModel, rows: Sequence[list[int]], *, starts: Sequence[int] | None = None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield the numbers of rows that are read together, and what each head says of them: (b, K) fp32 on the CPU."""
    asks_starts = isinstance(model, TokenScorer) and starts is not None
    pad_id = model.config.get_text_config().pad_token_id
    with evaluating(model):
        for batch in batch_by_tokens([len(row) for row in rows], SCORING_TOKENS):
            input_ids, attention_mask = pad_rows([rows[number] for number in batch], pad_id)
            known = {"starts": torch.tensor([starts[n] for n in batch], device=model.device)} if asks_starts else {}
            logits = model(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                use_cache=False,
                **known,
            ).logits
            yield batch, logits.float().cpu()


def reward_differences(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> list[float]:
    """Return the reward of chosen minus that of rejected for each pair, nats."""
    differences: list[float] = head_differences(model, pairs).mean(1).tolist()
    return differences


def head_differences(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> torch.Tensor:
    """Return each head's reward of chosen minus that of rejected for each pair: (n, K), nats."""
    rows = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    starts = [len(pair.prompt_ids) for pair in pairs for _ in range(2)]
    scores = score_heads(model, rows, starts=starts).view(len(pairs), 2, -1)  # (n, 2, K)
    return scores[:, 0] - scores[:, 1]


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
