"""An OpenAI-compatible endpoint as an annotator."""

from __future__ import annotations

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
from rlhf.learning.endpoint_answers import compare_letters, read_answer, read_retry_after

RETRIES = 4
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REFUSED = (400, 413, 422)  # about this one question: a content filter, a text that is too long
RETRIED = (408, 409, 429, 500, 502, 503, 504)
TOP_LOGPROBS = 20
# An answer without probabilities says which, and not how surely; one that names neither side says nothing.
SAID = 0.95


class Refused(Exception):
    """The endpoint does not answer this question; it may answer others."""


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
        asked = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        try:
            answer = read_answer(self.post({"messages": question, **asked}))
        except Refused as refused:
            return Choice.refuse(str(refused))
        p = compare_letters(answer.logprobs)
        if p is not None:
            return Choice(p, answer.n_tokens)
        letter = re.match(r"\W*([AB])\b", answer.content)
        if letter is None:
            return Choice(0.5, answer.n_tokens, is_unclear=True)
        return Choice(SAID if letter[1] == "A" else 1 - SAID, answer.n_tokens)

    def write_one(self, question: list[Message]) -> Text:
        config = self.config
        asked = {"max_tokens": config.max_new_tokens, "temperature": config.temperature, "seed": config.seed}
        try:
            answer = read_answer(self.post({"messages": question, **asked}))
        except Refused as refused:
            return Text.refuse(str(refused))
        return Text(answer.content.strip(), answer.n_tokens)

    def post(self, body: dict[str, Any]) -> Any:
        """Return the endpoint's answer, asked again while it is busy. Raises: Refused, ContractError."""
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
                    return reply.json()
                cause = self.quote(reply)
                if reply.status_code in REFUSED:
                    raise Refused(f"refused with {cause}")
                if reply.status_code not in RETRIED:
                    break
                wait_s = max(wait_s, read_retry_after(reply.headers.get("Retry-After", "")))
            except httpx2.RequestError as error:
                cause = str(error) or type(error).__name__
            except (ValueError, RecursionError) as error:
                cause = f"no JSON: {error}"
        raise ContractError(f"{url} did not answer ({' '.join(cause.split())}): check endpoint, model and key")

    def quote(self, reply: httpx2.Response) -> str:
        """Return what an endpoint says of a failure, on one line, without the key some of them repeat."""
        text = reply.text.replace(self.key, "***") if self.key else reply.text
        return f"{reply.status_code}: {' '.join(text.split())[:300]}"
