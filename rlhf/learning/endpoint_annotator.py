"""An OpenAI-compatible endpoint as an annotator."""

from __future__ import annotations

import math
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.records import Message
from rlhf.learning.annotators import Choice, Text

RETRIES = 4
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
RETRIED = (408, 409, 429, 500, 502, 503, 504)
TOP_LOGPROBS = 20
# An answer without probabilities says which, and not how surely; one that names neither side says nothing.
SAID = 0.95


class EndpointAnnotator:
    """Answers questions through /chat/completions, `batch_size` requests at a time.

    Raises: ContractError when the endpoint refuses, or answers what cannot be read, however often it is asked.
    """

    def __init__(self, config: FeedbackConfig) -> None:
        self.config = config
        # Nobody sends it elsewhere, no redirect and no proxy: the key and the texts are for the endpoint that was allowed.
        self.client = httpx2.Client(timeout=config.timeout_s, follow_redirects=False, trust_env=False)
        self.key = os.environ.get(config.key_name, "") if config.key_name else ""
        if config.key_name and not self.key:
            raise ContractError(f"{config.key_name} is not set where the learning worker runs: set it, then retry")

    def choose(self, questions: list[list[Message]]) -> list[Choice]:
        """Return how likely the first completion is the better one, from the probabilities of the letters A and B."""
        with ThreadPoolExecutor(self.config.batch_size) as pool:
            return list(pool.map(self.choose_one, questions))

    def write(self, questions: list[list[Message]]) -> list[Text]:
        """Return one answer to each question."""
        with ThreadPoolExecutor(self.config.batch_size) as pool:
            return list(pool.map(self.write_one, questions))

    def choose_one(self, question: list[Message]) -> Choice:
        answer = self.post(
            {"messages": question, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        )
        choice, n_tokens = read_choice(answer), count_tokens(answer)
        listed = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
        p = compare_letters({str(item.get("token")): float(item.get("logprob", -math.inf)) for item in listed})
        if p is not None:
            return Choice(p, n_tokens)
        letter = re.match(r"\W*([AB])\b", read_content(choice))
        if letter is None:
            return Choice(0.5, n_tokens, is_unclear=True)
        return Choice(SAID if letter[1] == "A" else 1 - SAID, n_tokens)

    def write_one(self, question: list[Message]) -> Text:
        answer = self.post(
            {
                "messages": question,
                "max_tokens": self.config.max_new_tokens,
                "temperature": self.config.temperature,
                "seed": self.config.seed,
            }
        )
        return Text(read_content(read_choice(answer)).strip(), count_tokens(answer))

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the endpoint's answer, asked again while it is busy. Raises: ContractError."""
        url = f"{self.config.endpoint.rstrip('/')}/chat/completions"
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        wait_s, cause = FIRST_WAIT_S, ""
        for attempt in range(RETRIES + 1):
            if attempt:
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            try:
                reply = self.client.post(url, json={"model": self.config.model, **body}, headers=headers)
                if reply.status_code == httpx2.codes.OK:
                    answer: dict[str, Any] = reply.json()
                    return answer
                cause = f"{reply.status_code}: {reply.text[:300]}"
                if reply.status_code not in RETRIED:
                    break
                wait_s = max(wait_s, read_retry_after(reply.headers.get("Retry-After", "")))
            except httpx2.TransportError as error:
                cause = str(error) or type(error).__name__
            except ValueError as error:
                cause = f"no JSON: {error}"
        raise ContractError(f"{url} did not answer ({' '.join(cause.split())}): check endpoint, model and key")


def compare_letters(logprobs: dict[str, float]) -> float | None:
    """Return the probability of A among A and B, from log-probabilities by token; None when neither is listed.

    Tokens that differ by spaces or case are one letter. A letter that is not listed is less likely than all that are.
    """
    mass = {"A": 0.0, "B": 0.0}
    for token, logprob in logprobs.items():
        if (letter := token.strip().strip("()").upper()) in mass:
            mass[letter] += math.exp(logprob)
    if not any(mass.values()):
        return None
    floor = math.exp(min(logprobs.values()))
    a, b = (min(floor, 1e-3) if value == 0.0 else value for value in mass.values())
    return a / (a + b)


def read_choice(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of an answer. Raises: ContractError."""
    try:
        choice: dict[str, Any] = answer["choices"][0]
        return choice if isinstance(choice["message"], dict) else {}
    except (KeyError, IndexError, TypeError) as error:
        raise ContractError("the endpoint's answer has no choices[0].message: is it OpenAI-compatible?") from error


def read_content(choice: dict[str, Any]) -> str:
    return str((choice.get("message") or {}).get("content") or "")


def count_tokens(answer: dict[str, Any]) -> int:
    """Return what an answer cost, in tokens of question and answer."""
    return int((answer.get("usage") or {}).get("total_tokens") or 0)


def read_retry_after(text: str) -> float:
    """Return how long the endpoint asks to be left alone, in seconds, within bounds."""
    try:
        return min(LONGEST_WAIT_S, max(0.0, float(text)))
    except ValueError:
        return 0.0
