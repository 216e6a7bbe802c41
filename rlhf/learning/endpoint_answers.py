"""What an OpenAI-compatible endpoint answered, read strictly: what is not as it should be counts as not said."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from rlhf.contract.errors import ContractError

LONGEST_WAIT_S = 30.0
MOST_TOKENS = 100_000_000
ROUNDING = 1e-3  # a log-probability of nearly certain tokens may come out a little over 0


@dataclass(frozen=True)
class Answer:
    """One answer. logprobs: of the likeliest first tokens, in nats, by token; empty where none can be trusted."""

    content: str
    logprobs: dict[str, float]
    n_tokens: int


def read_answer(answer: Any) -> Answer:
    """Return what an answer says. Raises: ContractError when it has no choices[0].message."""
    try:
        choice = answer["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise ContractError("the endpoint's answer has no choices[0].message: is it OpenAI-compatible?") from error
    content = message.get("content") if isinstance(message, dict) else None
    return Answer(
        content=re.sub("[\ud800-\udfff]", "\ufffd", content) if isinstance(content, str) else "",
        logprobs=read_logprobs(choice.get("logprobs")),
        n_tokens=count_tokens(answer.get("usage")),
    )


def read_logprobs(logprobs: Any) -> dict[str, float]:
    """Return the log-probabilities listed for the first token; one that cannot be is reason to trust none."""
    try:
        listed = [(item["token"], item["logprob"]) for item in logprobs["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError):
        return {}
    return {token: float(logp) for token, logp in listed} if all(is_logprob(*pair) for pair in listed) else {}


def is_logprob(token: Any, logp: Any) -> bool:
    if not isinstance(token, str) or isinstance(logp, bool) or not isinstance(logp, (int, float)):
        return False
    return -1e9 < logp <= ROUNDING  # not-a-number is neither


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


def count_tokens(usage: Any) -> int:
    """Return what an answer cost, in tokens of question and answer; 0 where it does not say."""
    n = usage.get("total_tokens") if isinstance(usage, dict) else None
    return n if type(n) is int and 0 <= n <= MOST_TOKENS else 0


def read_retry_after(text: str) -> float:
    """Return how long the endpoint asks to be left alone, in seconds, within bounds."""
    try:
        wait_s = float(text)
    except ValueError:
        return 0.0
    return min(LONGEST_WAIT_S, max(0.0, wait_s)) if math.isfinite(wait_s) else 0.0
