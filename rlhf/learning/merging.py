"""A model between two others: the weighted mean of their weights, tensor by tensor.

Between a policy and what it was before its last training lies one that has lost less of what it knew and kept most of what
it learned (arXiv 2309.06256 section 4); of reward models the mean is harder to fool than each (arXiv 2401.12187).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.merge import MergeConfig
from rlhf.learning.checkpointing import require_finite_weights, save_final
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.reporting import Reporter
from rlhf.learning.reward_card import CARD, read_card, write_card
from rlhf.learning.scoring import is_reward_model, load_reward_model, score_rows

MEASURED = (
    "temperature",
    "eval_log_loss_calibrated",
)  # of a card: what was measured of one model is not true of a mean


def train(config: MergeConfig, run_dir: Path) -> dict[str, float]:
    """Publish (1 - weight) base_model + weight other_model.

    Returns: distance, the length of the step from base_model to other_model over that of base_model, and the weight taken.
    Raises: ContractError unless both are models of one shape with one tokenizer.
    """
    reporter = Reporter(run_dir, stage="averaging weights", total_steps=1)
    tokenizer = load_tokenizer(config.base_model)
    require_same_reading(tokenizer, load_tokenizer(config.other_model))
    base = load_either(config.base_model, tokenizer, seed=config.seed)
    other = load_either(config.other_model, tokenizer, seed=config.seed)
    require_same_shape(base, other)
    distance = measure_distance(base, other)
    average_weights(base, other, weight=config.weight)
    require_finite_weights(base, 0)
    card = describe_mean(base, config.base_model)
    save_final(run_dir, base, tokenizer, write_more=partial(write_card, card=card) if card else None)
    reporter.step(1)
    return {"distance": distance, "weight": config.weight}


def load_either(folder: str, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> PreTrainedModel:
    """Return the policy or the reward model of a folder."""
    return load_reward_model(folder, tokenizer, seed=seed) if is_reward_model(folder) else load_policy(folder)


def require_same_reading(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> None:
    """Raise ContractError unless both turn a conversation into the same ids: rows of the embeddings are averaged by id."""
    facts = [
        (each.get_vocab(), each.chat_template, each.eos_token_id, each.pad_token_id) for each in (tokenizer, other)
    ]
    if facts[0] != facts[1]:
        raise ContractError(
            "base_model and other_model have different tokenizers or chat templates; merge models of one family, say a "
            "policy and what it was trained from"
        )


def require_same_shape(base: PreTrainedModel, other: PreTrainedModel) -> None:
    """Raise ContractError, naming a tensor, unless both have the same weights in the same shapes."""
    if type(base) is not type(other):
        raise ContractError(
            f"{type(base).__name__} and {type(other).__name__} cannot be averaged: they are unlike models"
        )
    # A head tied to the embeddings has a name in the state, and no weights of its own to average.
    for list_tensors in (type(base).state_dict, lambda model: dict(model.named_parameters())):
        shapes = [{name: tuple(value.shape) for name, value in list_tensors(each).items()} for each in (base, other)]
        names = sorted(shapes[0].keys() | shapes[1].keys())
        unlike = next((name for name in names if shapes[0].get(name) != shapes[1].get(name)), None)
        if unlike:
            ours, theirs = (shape.get(unlike, "missing") for shape in shapes)
            raise ContractError(
                f"the models are of different shapes: {unlike} is {ours} in base_model, {theirs} in other_model"
            )


@torch.no_grad()
def measure_distance(base: PreTrainedModel, other: PreTrainedModel) -> float:
    """Return |other - base| / |base| over all weights."""
    pairs = list(zip(base.parameters(), other.parameters(), strict=True))
    step = sum((theirs - ours).double().square().sum() for ours, theirs in pairs)
    length = sum(ours.double().square().sum() for ours, _ in pairs)
    return float((step / length).sqrt())


@torch.no_grad()
def average_weights(base: PreTrainedModel, other: PreTrainedModel, *, weight: float) -> None:
    """Give base the weights (1 - weight) base + weight other; 0 and 1 give the one and the other to the bit."""
    for ours, theirs in zip(base.parameters(), other.parameters(), strict=True):
        ours.mul_(1 - weight).add_(theirs, alpha=weight)


def describe_mean(model: PreTrainedModel, folder: str) -> dict[str, Any]:
    """Return the card of an averaged reward model: how it reads is what base's card says, its scores are its own."""
    if not (Path(folder) / CARD).exists():
        return {}
    card = {name: value for name, value in read_card(folder).items() if name not in MEASURED}
    rows = [row["ids"] for row in card.get("parity", [])]
    if not rows:
        return card
    scores = score_rows(model, rows).tolist()
    return card | {"parity": [{"ids": ids, "score": score} for ids, score in zip(rows, scores, strict=True)]}
