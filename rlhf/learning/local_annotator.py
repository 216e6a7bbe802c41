"""A model folder as an annotator: choices are read from its log-probabilities, texts are sampled."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.records import Message
from rlhf.learning.annotators import Choice, Text
from rlhf.learning.generation import generate, pad_left
from rlhf.learning.models import find_stop_ids, load_policy, load_tokenizer
from rlhf.learning.tokenization import render_ids

TOO_LONG = "the question is longer than max_prompt_tokens or the model allow"


class LocalAnnotator:
    """Answers questions with a causal language model of ours. Raises: ContractError for a folder that is no model."""

    def __init__(self, config: FeedbackConfig) -> None:
        self.config = config
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(config.base_model)
        self.model: PreTrainedModel = load_policy(config.base_model).eval()
        self.opening, self.letter_ids = split_letters(self.tokenizer)
        self.n_asked = 0

    @torch.inference_mode()
    def choose(self, questions: list[list[Message]]) -> list[Choice]:
        """Return how likely the first completion is the better one: softmax over the log-probabilities of A and B.

        A question that is too long is refused: cut, it would show one side without the other.

        Source: arXiv 2212.08073 section 4.1.
        """
        encoded = [self.encode(question, len(self.opening)) for question in questions]
        known = iter(self.compare([[*ids, *self.opening] for ids in encoded if ids]))
        return [next(known) if ids else Choice.refuse(TOO_LONG) for ids in encoded]

    def compare(self, prompts: list[list[int]]) -> list[Choice]:
        """Return a choice for the ids of each question."""
        if not prompts:
            return []
        ids, mask = pad_left(prompts, self.model.device)  # (P, T)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1)
        letters = output.logits[:, -1, self.letter_ids].float().log_softmax(-1)  # (P, 2)
        return [Choice(p=float(pair[0].exp()), n_tokens=1) for pair in letters]

    def write(self, questions: list[list[Message]]) -> list[Text]:
        """Return one sampled answer to each question; one that is too long is refused."""
        self.n_asked += 1
        encoded = [self.encode(question, self.config.max_new_tokens) for question in questions]
        known = iter(self.sample([ids for ids in encoded if ids]))
        return [next(known) if ids else Text.refuse(TOO_LONG) for ids in encoded]

    def sample(self, prompts: list[list[int]]) -> list[Text]:
        """Return a sampled answer to the ids of each question."""
        if not prompts:
            return []
        rollouts = generate(
            self.model,
            prompts,
            n=1,
            temperature=self.config.temperature,
            top_p=1.0,
            max_new_tokens=self.config.max_new_tokens,
            stop_ids=find_stop_ids(self.model, self.tokenizer),
            seed=self.config.seed + self.n_asked,
            batch_size=self.config.batch_size,
        )
        return [
            Text(self.tokenizer.decode(rollout.ids, skip_special_tokens=True).strip(), len(rollout.ids))
            for (rollout,) in rollouts
        ]

    def encode(self, question: list[Message], n_more: int) -> list[int]:
        """Return a question's ids where so many more have room beside them, else none: a question is never cut."""
        room = getattr(self.model.config, "max_position_embeddings", None) or self.config.max_prompt_tokens + n_more
        if room <= n_more:
            raise ContractError(f"max_new_tokens must be less than the model's {room} positions, got {n_more}")
        ids: list[int] = render_ids(self.tokenizer, question, add_generation_prompt=True)
        return ids if len(ids) <= min(self.config.max_prompt_tokens, room - n_more) else []


def split_letters(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the tokens that the answers A and B begin with alike, and the one of each in which they first differ.

    A byte-level tokenizer may write each letter as a space and the letter. Raises: ContractError for one that cannot.
    """
    a, b = (tokenizer.encode(letter, add_special_tokens=False) for letter in "AB")
    for number, pair in enumerate(zip(a, b, strict=False)):
        if pair[0] != pair[1]:
            return a[:number], list(pair)
    raise ContractError("the tokenizer does not tell the letters A and B apart: choose another annotator")
