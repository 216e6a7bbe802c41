"""Held-out accuracy of a reward model, or of a policy against its reference, without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.run_dir import DATA
from rlhf.learning.accuracy import describe_agreement, describe_calibrated, describe_slices
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.own_words import describe_own_words
from rlhf.learning.pair_logps import pair_logratios
from rlhf.learning.perplexity import measure_tax
from rlhf.learning.preferences import EncodedPair, load_pairs
from rlhf.learning.reporting import Reporter
from rlhf.learning.reward_card import read_card, require_parity
from rlhf.learning.reweighting import describe_reweighted
from rlhf.learning.scorer import read_limit
from rlhf.learning.scoring import (
    is_reward_model,
    load_reward_model,
    load_scoring_tokenizer,
    require_positions,
    reward_differences,
)


def train(config: EvaluateConfig, run_dir: Path) -> dict[str, Any]:
    """Return how well the model of the configuration agrees with data/test.jsonl, and of a policy what it says itself.

    A reward model answers with eval_accuracy, and with what its scores are worth as probabilities by the temperature that
    was fitted when it was trained, on the pairs held out then: where they are these, that flatters it by one number; a
    policy, by its log-ratios to the reference, with eval_rewards/accuracies (its log-loss and calibration are those of
    beta = 1), with the figures of its own words, and with what it has forgotten.

    Raises: ContractError when a policy comes without reference, a reward model with one, or a reward model no longer
    scores as it did when it was trained.
    """
    reporter = Reporter(run_dir, stage="ranking held-out pairs", total_steps=3)
    is_scoring = is_reward_model(config.base_model)
    tokenizer = load_scoring_tokenizer(config.base_model) if is_scoring else load_tokenizer(config.base_model)
    # A reward model is asked about no longer rows than it was trained on.
    limit = (is_scoring and read_limit(config.base_model)) or config.max_length
    test_set = load_pairs(run_dir / DATA / "test.jsonl", tokenizer, max_length=min(limit, config.max_length))
    calibrated: dict[str, float] = {}
    if is_scoring:
        if config.reference_model:
            raise ContractError("base_model is a reward model: leave reference_model empty")
        model = load_reward_model(config.base_model, tokenizer, seed=config.seed)
        require_parity(model, config.base_model)
        require_positions(model, test_set.pairs)
        name, differences = "eval_accuracy", reward_differences(model, test_set.pairs)
        if "temperature" in (card := read_card(config.base_model)):
            calibrated = describe_calibrated(test_set.pairs, differences, temperature=card["temperature"])
    else:
        name = "eval_rewards/accuracies"
        differences = logratio_differences(config, test_set.pairs, pad_id=tokenizer.pad_token_id)
    metrics: dict[str, Any] = {
        **describe_agreement(test_set.pairs, differences, name=name),
        **describe_reweighted(run_dir, test_set.pairs, differences, name=name),
        **calibrated,
        "slices": describe_slices(test_set.pairs, differences),
        "n_dropped": test_set.n_dropped,
        "n_cut": test_set.n_cut,
    }
    if not is_scoring:
        reporter.step(1)
        metrics |= measure_policy(config, run_dir, tokenizer, reporter)
    reporter.log(3, {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))})
    reporter.step(3)
    return metrics


def measure_policy(
    config: EvaluateConfig, run_dir: Path, tokenizer: PreTrainedTokenizerBase, reporter: Reporter
) -> dict[str, Any]:
    """Return what a policy says itself beside its reference, and what it has forgotten."""
    policy, reference = load_policy(config.base_model), load_policy(config.reference_model)
    data = run_dir / DATA
    reporter.stage = "drawing completions"
    found = describe_own_words(config, data / "test.jsonl", tokenizer, policy=policy, reference=reference)
    reporter.stage = "asking what it has forgotten"
    reporter.step(2)
    tax = measure_tax(data, tokenizer, policy=policy, reference=reference, max_length=config.max_length)
    return found | tax


def logratio_differences(config: EvaluateConfig, pairs: list[EncodedPair], *, pad_id: int) -> list[float]:
    """Return log pi/ref of chosen minus that of rejected for each pair, nats."""
    if not config.reference_model:
        raise ContractError("base_model is a policy: name its reference_model, or evaluate a reward model")
    ratios = pair_logratios(config.base_model, config.reference_model, pairs, pad_id=pad_id)  # (n, 2)
    differences: list[float] = (ratios[:, 0] - ratios[:, 1]).tolist()
    return differences
