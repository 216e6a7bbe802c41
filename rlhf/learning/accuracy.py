"""How well scores agree with judgments, with intervals, beside what length alone would reach."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from rlhf.learning.preferences import EncodedPair

Z_95 = 1.959963984540054
ECE_BINS = 10
SAME_LENGTH = 0.1  # completions whose lengths differ by less than this share of the longer are alike


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Return the 95% interval of a share; (0, 1) when n is 0. Halves (ties) are allowed in `successes`.

    Source: Wilson 1927, "Probable inference", the score interval.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half_width = Z_95 / (1 + Z_95**2 / n) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1, but for rounding.
    return (0.0 if successes == 0 else centre - half_width), (1.0 if successes == n else centre + half_width)


def describe_share(name: str, successes: float, n: float) -> dict[str, float]:
    """Return {name, name_low, name_high}: a share and its 95% interval."""
    low, high = wilson_interval(successes, n)
    return {name: successes / n if n else 0.5, f"{name}_low": low, f"{name}_high": high}


def describe_agreement(pairs: Sequence[EncodedPair], differences: Sequence[float], *, name: str) -> dict[str, float]:
    """Return how well score differences agree with the pairs' labels.

    Pairs labelled a tie (target 0.5) count in no accuracy; equal scores or lengths count half.

    Args:
        pairs: the judged pairs.
        differences: score of chosen minus score of rejected, in nats of a Bradley-Terry model.
        name: the key of the accuracy, such as eval_accuracy.
    Returns: accuracy, the baselines "the longer is better" and "the shorter is better" (in characters), each with its
        95% interval; log-loss in nats; Brier score; expected calibration error; n_test and n_test_ties.
    """
    judged = [(pair, difference) for pair, difference in zip(pairs, differences, strict=True) if pair.target != 0.5]
    n = len(judged)
    longer = sum(credit(pair.chosen_chars - pair.rejected_chars, pair.target) for pair, _ in judged)
    return {
        **describe_accuracy(pairs, differences, name=name),
        **describe_share("baseline_longer", longer, n),
        **describe_share("baseline_shorter", n - longer, n),
        "eval_log_loss": log_loss([pair.target for pair in pairs], differences),
        "eval_brier": brier_score([pair.target for pair in pairs], differences),
        "eval_ece": calibration_error([pair.target for pair, _ in judged], [difference for _, difference in judged]),
        "n_test": len(pairs),
        "n_test_ties": len(pairs) - n,
    }


def describe_calibrated(
    pairs: Sequence[EncodedPair], differences: Sequence[float], *, temperature: float
) -> dict[str, float]:
    """Return log-loss, Brier score and calibration error of s(d / T), as `describe_agreement` has them of s(d)."""
    log_odds = [difference / temperature for difference in differences]
    judged = [(pair.target, odds) for pair, odds in zip(pairs, log_odds, strict=True) if pair.target != 0.5]
    targets = [pair.target for pair in pairs]
    return {
        "eval_log_loss_calibrated": log_loss(targets, log_odds),
        "eval_brier_calibrated": brier_score(targets, log_odds),
        "eval_ece_calibrated": calibration_error([target for target, _ in judged], [odds for _, odds in judged]),
    }


def describe_accuracy(pairs: Sequence[EncodedPair], differences: Sequence[float], *, name: str) -> dict[str, float]:
    """Return {name, name_low, name_high}: how often score differences have the label's sign; as `describe_agreement`."""
    hits = [
        credit(difference, pair.target)
        for pair, difference in zip(pairs, differences, strict=True)
        if pair.target != 0.5
    ]
    return describe_share(name, sum(hits), len(hits))


def fit_temperature(targets: Sequence[float], differences: Sequence[float]) -> float:
    """Return the T > 0 for which differences / T cost the least log-loss on the labels; 1 for no pairs.

    Labels are taken to be a little less sure than they say, n pairs as n + 2 of which one says the opposite: else ten of ten
    that are in order would make every difference a certainty.
    The loss is convex in 1 / T, which is searched between 1/100 and 100 by golden section.
    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2; labels: Platt 1999, "Probabilistic outputs", section 2.2.
    """
    if not targets:
        return 1.0
    targets = [0.5 + (target - 0.5) * len(targets) / (len(targets) + 2) for target in targets]
    low, high = -math.log(100.0), math.log(100.0)
    shrink = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - shrink * (high - low), low + shrink * (high - low)
        cost_left, cost_right = (
            log_loss(targets, [difference * math.exp(point) for difference in differences]) for point in (left, right)
        )
        low, high = (low, right) if cost_left <= cost_right else (left, high)
    return math.exp(-(low + high) / 2)


def brier_score(targets: Sequence[float], differences: Sequence[float]) -> float:
    """Return the mean of (s(d) - p)^2; 0.25 is what no knowledge costs.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    guesses = [1 / (1 + math.exp(-min(max(difference, -50.0), 50.0))) for difference in differences]
    return sum((guess - target) ** 2 for guess, target in zip(guesses, targets, strict=True)) / len(guesses)


def describe_slices(pairs: Sequence[EncodedPair], differences: Sequence[float]) -> list[dict[str, Any]]:
    """Return the accuracy by strength, length, slice of prompts and source, as rows of {slice, n, accuracy, low, high}.

    Ties count in none, as in `describe_agreement`. Slices that hold every pair say nothing new and are left out.
    """
    judged = [(pair, difference) for pair, difference in zip(pairs, differences, strict=True) if pair.target != 0.5]
    grouped: defaultdict[str, list[float]] = defaultdict(list)
    for pair, difference in judged:
        for name in name_slices(pair):
            grouped[name].append(credit(difference, pair.target))
    rows = []
    for name, hits in sorted(grouped.items()):
        if len(hits) < len(judged):
            low, high = wilson_interval(sum(hits), len(hits))
            rows.append({"slice": name, "n": len(hits), "accuracy": sum(hits) / len(hits), "low": low, "high": high})
    return rows


def list_hits(pairs: Sequence[EncodedPair], differences: Sequence[float]) -> list[dict[str, float]]:
    """Return which lines of the file are agreed with, ties left out. The host knows who judged them; learning does not."""
    return [
        {"line": pair.line, "hit": credit(difference, pair.target)}
        for pair, difference in zip(pairs, differences, strict=True)
        if pair.target != 0.5
    ]


def name_slices(pair: EncodedPair) -> Iterator[str]:
    """Yield the slices a pair falls into."""
    if pair.margin:
        yield f"strength {round(3 * pair.margin)}"
    share = (pair.chosen_chars - pair.rejected_chars) / max(pair.chosen_chars, pair.rejected_chars, 1)
    yield (
        "chosen is longer"
        if share > SAME_LENGTH
        else "rejected is longer"
        if share < -SAME_LENGTH
        else "alike in length"
    )
    if pair.slice:
        yield f"slice {pair.slice}"
    if pair.source:
        yield f"source {pair.source}"


def credit(difference: float, target: float) -> float:
    """Return 1 when the sign of the difference is that of the label, 0.5 when there is no difference, else 0."""
    if difference == 0:
        return 0.5
    return float((difference > 0) == (target > 0.5))


def log_loss(targets: Sequence[float], differences: Sequence[float]) -> float:
    """Return the mean of -[p log s(d) + (1 - p) log s(-d)] in nats; log 2 is what no knowledge costs."""
    losses = [
        target * softplus(-difference) + (1 - target) * softplus(difference)
        for target, difference in zip(targets, differences, strict=True)
    ]
    return sum(losses) / len(losses)


def calibration_error(targets: Sequence[float], differences: Sequence[float]) -> float:
    """Return the expected calibration error over ten bins of equal mass; 0 for no pairs.

    Each pair is turned so that its score says "better" (confidence >= 0.5).
    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3, with bins of equal mass.
    """
    sure = [
        (1 / (1 + math.exp(-min(abs(difference), 50.0))), credit(difference, target))
        for target, difference in zip(targets, differences, strict=True)
    ]
    sure.sort(key=lambda pair: pair[0])  # by confidence alone: hits must not gather in a bin among equals
    n, error = len(sure), 0.0
    for number in range(ECE_BINS):
        bin_pairs = sure[n * number // ECE_BINS : n * (number + 1) // ECE_BINS]
        error += abs(sum(confidence - hit for confidence, hit in bin_pairs))
    return error / n if n else 0.0


def softplus(value: float) -> float:
    """Return log(1 + exp(value)) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
