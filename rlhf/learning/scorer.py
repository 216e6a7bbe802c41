"""A reward model as a reward of completions: by their ids where it reads the policy's tokens, else by their texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.records import Message
from rlhf.learning.models import choose_attention
from rlhf.learning.preferences import EncodedAnswer, encode_answer
from rlhf.learning.reward_card import read_card, require_parity
from rlhf.learning.rewards import Reward
from rlhf.learning.scoring import Ensemble, load_reward_model, load_scoring_tokenizer, score_heads
from rlhf.learning.tokenization import encode_prompt

USUAL_LIMIT = 512
CUT = "rewards/cut_frac"  # of what is scored, the share that was longer than the rows the reward model was trained on


def load_scorer(
    folder: str | Path,
    policy_tokenizer: PreTrainedTokenizerBase,
    *,
    conversations: Mapping[tuple[int, ...], list[Message]],
    stop_ids: list[int],
    ensemble: Ensemble,
    seed: int,
) -> IdScorer | TextScorer:
    """Return the raw scores of a reward model's folder for prompts and completions of a policy's ids.

    Args:
        conversations: the messages of every prompt, by its ids; a reward model with a tokenizer of its own reads them.
        stop_ids: the policy's ids that end a completion.
        ensemble: what counts of the reward model's heads.
    Raises: ContractError when it no longer scores as it did when it was trained.
    """
    tokenizer = load_scoring_tokenizer(folder)
    model = load_reward_model(folder, tokenizer, seed=seed).eval()
    require_parity(model, folder)
    choose_attention(model, longest_row=find_limit(folder))
    return pick_scorer(
        model,
        tokenizer,
        policy_tokenizer,
        conversations=conversations,
        stop_ids=stop_ids,
        ensemble=ensemble,
        max_length=read_limit(folder),
    )


def pick_scorer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy_tokenizer: PreTrainedTokenizerBase,
    *,
    conversations: Mapping[tuple[int, ...], list[Message]],
    stop_ids: list[int],
    ensemble: Ensemble,
    max_length: int | None,
) -> IdScorer | TextScorer:
    """Return the raw scores of a loaded reward model: by the policy's ids where it reads them, else by what they spell.

    Args: max_length: of the rows it was trained on, where that is known; it is asked about no longer ones.
    """
    if reads_same_tokens(policy_tokenizer, tokenizer):
        fit = RowFitter(tokenizer, conversations=conversations, max_length=max_length) if max_length else None
        return IdScorer(model, ensemble=ensemble, fit=fit)
    return TextScorer(
        model,
        tokenizer,
        policy_tokenizer=policy_tokenizer,
        conversations=conversations,
        stop_ids=stop_ids,
        ensemble=ensemble,
        max_length=max_length or USUAL_LIMIT,
    )


def find_limit(folder: str | Path) -> int:
    """Return the longest row that a reward model was trained on, in its tokens; a usual one where it does not say."""
    return read_limit(folder) or USUAL_LIMIT


def read_limit(folder: str | Path) -> int | None:
    """Return the longest row that a reward model was trained on, in its tokens; None where it does not say."""
    return read_card(folder).get("max_length")


def count_cut(scores: Reward) -> int:
    """Return how many of the last rows a reward model was asked about had lost something."""
    return scores.n_cut if isinstance(scores, (IdScorer, TextScorer)) else 0


def reads_same_tokens(policy: PreTrainedTokenizerBase, reward_model: PreTrainedTokenizerBase) -> bool:
    """Say whether the ids of one mean the same to the other: their words and their chat templates are the same."""
    same_words = policy.get_vocab() == reward_model.get_vocab()
    return same_words and policy.chat_template == reward_model.chat_template


class IdScorer:
    """Scores completions by the policy's ids, and keeps what each head said of the last ones: a watch asks for it again.

    Args: ensemble: what counts of the heads. fit: makes rows as short as the reward model reads them, None where they are.
    """

    def __init__(
        self, model: PreTrainedModel, *, ensemble: Ensemble = Ensemble(), fit: RowFitter | None = None
    ) -> None:
        self.model = model
        self.ensemble = ensemble
        self.fit = fit
        self.said: dict[tuple[int, ...], Tensor] = {}
        self.n_cut = 0  # of the last rows

    def __call__(self, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """Return the raw scores of completions: (B,) fp32."""
        written = [prompt + ids for prompt, ids in zip(prompts, completions, strict=True)]
        parts = list(zip(prompts, completions, strict=True))
        read = [self.fit(*part) for part in parts] if self.fit else parts
        rows = [prompt + ids for prompt, ids in read]
        self.n_cut = sum(row != whole for row, whole in zip(rows, written, strict=True))
        by_head = score_heads(self.model, rows, starts=[len(prompt) for prompt, _ in read])  # (B, K)
        self.said = dict(zip(map(tuple, written), by_head, strict=True))
        return self.ensemble.join(by_head)

    def recall(self, rows: list[list[int]]) -> Tensor | None:
        """Return what each head said of the last rows: (B, K); None where some of these were not among them."""
        found = [self.said[row] for row in map(tuple, rows) if row in self.said]
        return torch.stack(found) if len(found) == len(rows) else None


class RowFitter:
    """Makes prompts and completions of ids as short as the rows that a reward model was trained on.

    A prompt loses its oldest turns whole. Where a completion leaves no room for one, it loses its end.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        conversations: Mapping[tuple[int, ...], list[Message]],
        max_length: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.conversations = conversations
        self.max_length = max_length

    def __call__(self, prompt: list[int], completion: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids of both, at most max_length in all."""
        room = self.max_length - len(completion)
        if len(prompt) <= room:
            return prompt, completion
        try:
            fitted = encode_prompt(self.tokenizer, self.conversations[tuple(prompt)], room)
        except ContractError:
            fitted = prompt[: self.max_length // 2]
        return fitted, completion[: self.max_length - len(fitted)]


class TextScorer:
    """Scores what a policy wrote with a reward model that reads other tokens, or has another chat template.

    A completion is written out and read again within its conversation, exactly as a row the reward model was trained on.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        policy_tokenizer: PreTrainedTokenizerBase,
        conversations: Mapping[tuple[int, ...], list[Message]],
        stop_ids: list[int],
        ensemble: Ensemble,
        max_length: int,
    ) -> None:
        self.scorer = IdScorer(model, ensemble=ensemble)
        self.tokenizer = tokenizer
        self.policy_tokenizer = policy_tokenizer
        self.conversations = conversations
        self.stop_ids = set(stop_ids)
        self.max_length = max_length
        self.n_cut = 0  # of the last rows

    def __call__(self, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """Return the raw scores: (B,) fp32."""
        rows = [self.read(prompt, ids) for prompt, ids in zip(prompts, completions, strict=True)]
        self.n_cut = sum(row.is_cut for row in rows)
        return self.scorer([row.prompt_ids for row in rows], [row.ids for row in rows])

    def read(self, prompt: list[int], completion: list[int]) -> EncodedAnswer:
        """Return the ids, to the reward model, of a prompt and a completion of the policy's ids."""
        return encode_answer(
            self.tokenizer,
            self.conversations[tuple(prompt)],
            self.policy_tokenizer.decode(completion, skip_special_tokens=True),
            is_finished=bool(completion) and completion[-1] in self.stop_ids,
            max_length=self.max_length,
        )
