"""How much better each of several models is, from who won against whom: Bradley-Terry with ties. Plain numbers.

Davidson's model (JASA 1970): with d the difference of two strengths, plus what covariates such as length add,
    p(win) : p(tie) : p(loss) = exp(d / 2) : nu : exp(-d / 2),
a multinomial logit, so that the likelihood is concave and Newton's steps find its one maximum. A weak prior (PRIOR) keeps
strengths finite where one side won always. Intervals are percentiles over prompts drawn again with replacement: several
votes on one prompt are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

PRIOR = 0.01  # precision of a normal prior on every parameter, in votes
TOLERANCE = 1e-9
LONGEST_STEP = 2.0
MAX_STEPS = 100
N_RESAMPLES = 500
# Rows times resamples held at once; more resamples of many rows are fitted in parts.
PART = 2_000_000

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Matches:
    """Votes between models, one row a comparison and pair of models.

    left, right: (n,) numbers of the models, 0 .. n_models - 1, and never the same. wins, ties, losses: (n,) votes for
    left, for neither, for right; already multiplied by their weights. prompts: (n,) what rows stand and fall together.
    covariates: (n, C) what left has more of than right, 0 where they are alike.
    """

    left: Numbers
    right: Numbers
    wins: Numbers
    ties: Numbers
    losses: Numbers
    prompts: Numbers
    covariates: Numbers
    n_models: int

    @property
    def votes(self) -> Numbers:
        """The weight of each row: (n,)."""
        return self.wins + self.ties + self.losses

    def without_covariates(self) -> Matches:
        """Return the same votes, with nothing said of the texts."""
        return replace(self, covariates=np.zeros((len(self.left), 0)))

    def where(self, kept: Numbers) -> Matches:
        """Return the rows where `kept` (n,) is True."""
        names = ("left", "right", "wins", "ties", "losses", "prompts", "covariates")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


@dataclass(frozen=True)
class Fit:
    """strengths: (n_models,) in nats, their mean 0. effects: (C,) what one unit of each covariate adds. tie: log nu."""

    strengths: Numbers
    effects: Numbers
    tie: float


@dataclass(frozen=True)
class Estimate:
    """A win rate, ties half, and its 95% interval. n_effective: of how many prompts it tells as much as."""

    rate: float
    low: float
    high: float
    n_effective: float


def fit_matches(matches: Matches) -> Fit:
    """Return the likeliest strengths."""
    fitted = maximize(matches, np.ones((1, len(matches.left))))[0]
    return unpack(fitted, matches.n_models)


def unpack(parameters: Numbers, n_models: int) -> Fit:
    strengths = parameters[:n_models] - parameters[:n_models].mean()
    return Fit(strengths, parameters[n_models:-1], float(parameters[-1]))


def rate_against(matches: Matches, baseline: int, *, n_resamples: int = N_RESAMPLES, seed: int = 20) -> list[Estimate]:
    """Return every model's win rate against the baseline, both texts alike in the covariates.

    The interval is never narrower than Wilson's for as many prompts as the model was seen on: where one side won always,
    resampling alone would say that it must.
    """
    center = maximize(matches, np.ones((1, len(matches.left))))
    drawn = maximize(matches, draw_weights(matches.prompts, n_resamples, seed=seed), start=center[0])
    rates, spread = win_rates(center, matches.n_models, baseline)[0], win_rates(drawn, matches.n_models, baseline)
    estimates = []
    for model in range(matches.n_models):
        if model == baseline:
            estimates.append(Estimate(0.5, 0.5, 0.5, 0.0))
            continue
        rate, n = float(rates[model]), count_effective(matches, model)
        low, high = np.quantile(spread[:, model], [0.025, 0.975])
        floor, ceiling = wilson(rate, n)
        estimates.append(Estimate(rate, min(float(low), floor), max(float(high), ceiling), n))
    return estimates


def win_rates(parameters: Numbers, n_models: int, baseline: int) -> Numbers:
    """Return each model's probability to win against the baseline, ties half. parameters: (R, P). Returns: (R, n_models)."""
    differences = parameters[:, :n_models] - parameters[:, [baseline]]
    win, tie, _ = probabilities(differences, parameters[:, [-1]])
    rates: Numbers = win + tie / 2
    return rates


def probabilities(differences: Numbers, tie: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return the probabilities of win, tie and loss, in the shape of the differences."""
    logits = np.stack([differences / 2, np.broadcast_to(tie, differences.shape), -differences / 2])
    shares = np.exp(logits - logits.max(0))
    shares /= shares.sum(0)
    return shares[0], shares[1], shares[2]


def draw_weights(prompts: Numbers, n_resamples: int, *, seed: int) -> Numbers:
    """Return how often each row is in each resample of the prompts: (n_resamples, n)."""
    names, place = np.unique(prompts, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    weights: Numbers = drawn[:, place].astype(float)
    return weights


def maximize(matches: Matches, weights: Numbers, *, start: Numbers | None = None) -> Numbers:
    """Return the parameters (R, n_models + C + 1) that are likeliest when rows count so often. weights: (R, n)."""
    matches, weights = merge_rows(matches, weights)
    n_parameters = matches.n_models + matches.covariates.shape[1] + 1
    start = np.zeros(n_parameters) if start is None else start
    size = max(1, PART // max(1, len(matches.left)))
    parts = [climb(matches, weights[at : at + size], start) for at in range(0, len(weights), size)]
    return np.concatenate(parts)


def merge_rows(matches: Matches, weights: Numbers) -> tuple[Matches, Numbers]:
    """Without covariates rows of the same two models are one row a resample: the votes move into the weights."""
    if matches.covariates.shape[1]:
        return matches, weights
    pairs, place = np.unique(np.stack([matches.left, matches.right]), axis=1, return_inverse=True)
    n_cells = 3 * pairs.shape[1]
    cells = np.zeros((len(matches.left), n_cells))
    for number, votes in enumerate((matches.wins, matches.ties, matches.losses)):
        cells[np.arange(len(place)), 3 * place + number] = votes
    merged = weights @ cells  # (R, 3 * pairs)
    one = np.eye(3)[np.tile(np.arange(3), pairs.shape[1])]  # (n_cells, 3): a row holds one kind of vote
    left, right = np.repeat(pairs[0], 3), np.repeat(pairs[1], 3)
    none = np.zeros((n_cells, 0))
    rows = Matches(left, right, one[:, 0], one[:, 1], one[:, 2], np.arange(n_cells), none, n_models=matches.n_models)
    return rows, merged


def climb(matches: Matches, weights: Numbers, start: Numbers) -> Numbers:
    """Take Newton's steps, of limited length, until none is left to take."""
    design = build_design(matches)  # (n, P - 1)
    parameters = np.tile(start, (len(weights), 1))
    for _ in range(MAX_STEPS):
        gradient, curvature = differentiate(matches, weights, design, parameters)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        longest = np.abs(step).max(1, keepdims=True)
        parameters = parameters + step * np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))
        if longest.max() < TOLERANCE:
            break
    return parameters


def build_design(matches: Matches) -> Numbers:
    """Return what each parameter but the tie's adds to a row's difference: (n, n_models + C)."""
    rows = np.arange(len(matches.left))
    models = np.zeros((len(rows), matches.n_models))
    models[rows, matches.left] += 1.0
    models[rows, matches.right] -= 1.0
    return np.concatenate([models, matches.covariates], axis=1)


def differentiate(matches: Matches, weights: Numbers, design: Numbers, parameters: Numbers) -> tuple[Numbers, Numbers]:
    """Return the gradient (R, P) of the log-likelihood with the prior, and its curvature, negated: (R, P, P)."""
    win, tie, loss = probabilities(parameters[:, :-1] @ design.T, parameters[:, [-1]])  # (R, n)
    n = weights * matches.votes
    lead = (win - loss) / 2  # the mean of +1/2, 0, -1/2
    slope = weights * (matches.wins - matches.losses) / 2 - n * lead
    excess = weights * matches.ties - n * tie
    gradient = np.concatenate([slope @ design, excess.sum(1, keepdims=True)], axis=1) - PRIOR * parameters
    size = parameters.shape[1]
    curvature = np.zeros((len(weights), size, size))
    spread = n * ((win + loss) / 4 - lead**2)
    curvature[:, :-1, :-1] = np.matmul(design.T * spread[:, None, :], design)
    cross = (-n * lead * tie) @ design
    curvature[:, :-1, -1], curvature[:, -1, :-1] = cross, cross
    curvature[:, -1, -1] = (n * tie * (1 - tie)).sum(1)
    curvature[:, np.arange(size), np.arange(size)] += PRIOR
    return gradient, curvature


def count_effective(matches: Matches, model: int) -> float:
    """Return of how many equally weighted prompts the votes on a model tell as much as. Source: Kish 1965."""
    kept = (matches.left == model) | (matches.right == model)
    _, place = np.unique(matches.prompts[kept], return_inverse=True)
    sums = np.bincount(place, weights=matches.votes[kept])
    return float(sums.sum() ** 2 / (sums**2).sum()) if len(sums) else 0.0


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95% interval of a share of n, which need not be whole. Source: Wilson 1927."""
    if n <= 0:
        return 0.0, 1.0
    z = 1.959963984540054
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(0.0, middle - half), min(1.0, middle + half)


def find_connected(matches: Matches, baseline: int) -> set[int]:
    """Return the models that votes join to the baseline, directly or through others, itself among them."""
    found, waiting = {baseline}, [baseline]
    pairs = set(zip(matches.left.tolist(), matches.right.tolist(), strict=True))
    while waiting:
        model = waiting.pop()
        near = {right if left == model else left for left, right in pairs if model in (left, right)}
        waiting += list(near - found)
        found |= near
    return found
