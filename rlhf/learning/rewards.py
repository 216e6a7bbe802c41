"""What PPO's completions are rewarded for: a weighted list of a reward model, plain measures and functions of one's own."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.run_dir import ALLOWED_REWARDS, DATA

# Raw rewards (B,) of completions, given the ids of prompts and of completions.
Reward = Callable[[list[list[int]], list[list[int]]], Tensor]
MODEL = "model"
BRACKETS = ("()", "[]", "{}")
ENDS = (".", "!", "?", "…", '"', "”", "»", ")", "```", "。", "！", "？")


def measure_length(prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """Return the tokens of each completion: (B,). With a negative weight, brevity."""
    return torch.tensor([float(len(ids)) for ids in completions])


def measure_distinct(prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """Return the share of a completion's token pairs that are unlike its others: (B,), 1 for the shortest."""
    pairs = [list(itertools.pairwise(ids)) for ids in completions]
    return torch.tensor([len(set(found)) / len(found) if found else 1.0 for found in pairs])


def measure_format(prompts: list[str], completions: list[str]) -> list[float]:
    """Return 1 for each text that is whole: it says something, ends a sentence and closes what it opens; 0 for the others."""
    return [float(is_whole(text.strip())) for text in completions]


def is_whole(text: str) -> bool:
    """Say whether a text ends where a sentence, a quotation or a block of code may end, with as many closed as opened."""
    is_closed = text.count("```") % 2 == 0 and all(text.count(first) == text.count(last) for first, last in BRACKETS)
    return is_closed and text.endswith(ENDS)


MEASURES: dict[str, Reward] = {"length": measure_length, "distinct": measure_distinct}
TEXT_MEASURES = {"format": measure_format}


def build_rewards(
    weights: dict[str, float], run_dir: Path, *, model: Reward, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Reward]:
    """Return the function of each named reward, weighted.

    Args:
        weights: by name. model: the reward model's scores.
        run_dir: its data/rewards.json, which the host wrote, says which other names there are: {"name": "module:function"}.
    Raises: ContractError for a name that nobody allowed, or a function that cannot be imported.
    """
    path = run_dir / DATA / ALLOWED_REWARDS
    allowed: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    rewards = {}
    for name, weight in weights.items():
        of_texts = {own: read_texts(function, own, tokenizer) for own, function in TEXT_MEASURES.items()}
        known = {MODEL: model, **MEASURES, **of_texts}
        if name in known:
            rewards[name] = weigh(known[name], weight)
        elif name in allowed:
            rewards[name] = weigh(read_texts(import_function(name, allowed[name]), name, tokenizer), weight)
        else:
            raise ContractError(
                f"unknown reward {name}; there are {', '.join([*known, *allowed])}. A function of your own becomes one by a "
                f'line {{"{name}": "module:function"}} in {ALLOWED_REWARDS} under PREFLOOP_HOME'
            )
    return rewards


def weigh(reward: Reward, weight: float) -> Reward:
    """Return the reward times a weight."""
    return lambda prompts, completions: weight * reward(prompts, completions)


def import_function(name: str, path: str) -> Callable[[list[str], list[str]], list[float]]:
    """Return the function of a dotted path that the host allowed. Raises: ContractError."""
    module, _, attribute = path.partition(":")
    try:
        found: Callable[[list[str], list[str]], list[float]] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContractError(
            f"reward {name}: {path!r} cannot be imported ({error}); write it as module:function"
        ) from error
    return found


def read_texts(
    function: Callable[[list[str], list[str]], list[float]], name: str, tokenizer: PreTrainedTokenizerBase
) -> Reward:
    """Return a reward of ids that asks a function of texts, and checks its answer."""

    def reward(prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        texts = (tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in (prompts, completions))
        values = [float(value) for value in function(*texts)]
        if len(values) != len(completions) or not all(map(math.isfinite, values)):
            raise ContractError(
                f"reward {name} must return one finite number for each of {len(completions)} completions"
            )
        return torch.tensor(values)

    return reward
