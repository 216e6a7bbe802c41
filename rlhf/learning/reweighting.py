"""Held-out accuracy as if chance had drawn every pair: each weighs the inverse of the probability it was asked with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlhf.contract.records import read_rows
from rlhf.contract.run_dir import DATA, PROPENSITIES
from rlhf.learning.accuracy import credit, describe_share
from rlhf.learning.preferences import EncodedPair


def describe_reweighted(
    run_dir: Path, pairs: Sequence[EncodedPair], differences: Sequence[float], *, name: str
) -> dict[str, float]:
    """Return {name_reweighted, _low, _high, n_reweighted, n_effective} of held-out pairs; empty where none has a propensity.

    The self-normalized estimate sum(w hit) / sum(w), w = 1 / propensity. Ties count in no accuracy.

    Args:
        pairs: the held-out pairs; data/propensities.jsonl names the lines that chance picked, and how probably.
        differences: score of chosen minus score of rejected.
        name: the key of the plain accuracy, such as eval_accuracy.
    Returns: the estimate with its 95% interval; of how many pairs; and how many pairs that weigh alike say as much, which
        the interval (Wilson's) is drawn for.
    Sources: Hajek 1971, comment on Basu, for the ratio; Kish 1965, Survey Sampling, 11.7, for (sum w)^2 / sum w^2.
    """
    path = run_dir / DATA / PROPENSITIES
    propensities = {row["line"]: row["propensity"] for row in read_rows(path)} if path.exists() else {}
    judged = [
        (1 / propensities[pair.line], credit(difference, pair.target))
        for pair, difference in zip(pairs, differences, strict=True)
        if pair.target != 0.5 and pair.line in propensities
    ]
    if not judged:
        return {}
    total = sum(weight for weight, _ in judged)
    n_effective = total**2 / sum(weight**2 for weight, _ in judged)
    share = sum(weight * hit for weight, hit in judged) / total
    return {
        **describe_share(f"{name}_reweighted", share * n_effective, n_effective),
        "n_reweighted": len(judged),
        "n_effective": n_effective,
    }
