"""What several votes on one comparison come to. Plain numbers: no database here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from labeling.domain.crowd import fit_crowd
from labeling.models.scales import FORCED, MARGINS, Scale, center, to_seven

MEAN_OF = 3
MOST_APART = 2  # steps between the most and the least of the votes whose mean is taken
# Log odds that the strongest preference is right: "much better" 94 times of 100, "better" 87, "slightly better" 72.
SURENESS = 2.8


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's last word, or a recorded vote: its strength, negative for A, on its scale, and which row said it.

    labeler: the id of our labeler. fix: the completion she rewrote, better than both.
    """

    strength: int
    both_bad: bool = False
    source: str = "own"
    guideline: int | None = None
    judgment_id: int | None = None
    imported_judgment_id: int | None = None
    labeler: int | None = None
    fix: int | None = None
    unsafe_a: bool = False
    unsafe_b: bool = False
    scale: str = Scale.SEVEN


class Outcome(StrEnum):
    """What the votes on a comparison came to; only A and B make a pair."""

    A = "A"
    B = "B"
    TIE = "ties"
    BOTH_BAD = "both_bad"
    DISAGREEMENT = "disagreements"
    TOO_FEW = "too_few_judgments"
    UNSAFE = "unsafe"


CLASSES = (Outcome.A, Outcome.TIE, Outcome.B, Outcome.BOTH_BAD)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the votes came to, how strongly (0 .. 1), and how likely that side is the better one."""

    outcome: Outcome
    margin: float = 0.0
    target: float = 1.0


def decide_all(
    votes: Mapping[int, Sequence[Vote]], *, consensus: str = "majority", min_judgments: int = 1
) -> dict[int, Decision]:
    """Decide every comparison by the rule named; see rule.FreezeRule."""
    enough = {pk: put_on_one_scale(found) for pk, found in votes.items() if len(found) >= max(min_judgments, 1)}
    decided = {pk: Decision(Outcome.TOO_FEW) for pk in votes}
    if consensus == "dawid_skene":
        return decided | decide_by_reliability(enough)
    rules = {
        "majority": decide_by_majority,
        "mean3": decide_by_mean,
        "soft": decide_by_share,
        "strength": decide_by_strength,
    }
    decide = rules[consensus]
    return decided | {pk: decide(found) for pk, found in enough.items()}


def decide_by_majority(votes: Sequence[Vote]) -> Decision:
    """Return what more than half of the votes say."""
    outcome = decide_majority(votes)
    return Decision(outcome, compute_margin(votes, outcome))


def decide_by_mean(votes: Sequence[Vote]) -> Decision:
    """Return the mean of the three most similar strengths, rounded to a step; three that lie too far apart disagree.

    Of windows equally narrow all count, so that A and B change nothing by changing places. Source: HelpSteer2-Preference,
    arXiv 2410.01257, section 3.
    """
    if decide_majority(votes) == Outcome.BOTH_BAD:
        return Decision(Outcome.BOTH_BAD)
    scale = votes[0].scale
    strengths = sorted(center(vote.strength, scale) for vote in votes if not vote.both_bad)
    n = min(MEAN_OF, len(strengths))
    windows = [strengths[start : start + n] for start in range(len(strengths) - n + 1)]
    apart = min(window[-1] - window[0] for window in windows)
    if apart > MOST_APART:
        return Decision(Outcome.DISAGREEMENT)
    best = [sum(window) / n for window in windows if window[-1] - window[0] == apart]
    return decide_mean(sum(best) / len(best), scale)


def decide_mean(mean: float, scale: str) -> Decision:
    """Return what a mean of centered strengths says, rounded to a whole step of its scale."""
    step = int(abs(mean) + (1 if scale in FORCED else 0.5))
    if mean == 0 or step == 0:
        return Decision(Outcome.TIE)
    return Decision(Outcome.A if mean < 0 else Outcome.B, MARGINS[Scale(scale)][step])


def decide_by_share(votes: Sequence[Vote]) -> Decision:
    """Return the side with the larger share of the votes, ties and "both bad" half a vote for each, and it as its target."""
    return decide_by_votes(votes, lambda vote: float(vote.strength < 0))


def decide_by_strength(votes: Sequence[Vote]) -> Decision:
    """Return the side that is likelier by the mean of the votes, each as sure as its strength says, and it as its target."""
    return decide_by_votes(votes, read_probability)


def read_probability(vote: Vote) -> float:
    """Return how likely A is the better one by a vote for a side, from the strength it was given with."""
    margin = MARGINS[Scale(vote.scale)][abs(vote.strength)]
    return 1 / (1 + math.exp(math.copysign(SURENESS * margin, vote.strength)))


def decide_by_votes(votes: Sequence[Vote], read: Callable[[Vote], float]) -> Decision:
    """Return the side that is likelier by the mean of what is read from votes for a side; other votes say half."""
    classes = [classify_vote(vote) for vote in votes]
    if 2 * classes.count(Outcome.BOTH_BAD) > len(votes):
        return Decision(Outcome.BOTH_BAD)
    sides = [read(vote) for vote, said in zip(votes, classes, strict=True) if said in (Outcome.A, Outcome.B)]
    share = (math.fsum(sides) + (len(votes) - len(sides)) / 2) / len(votes)
    return decide_share(votes, share, all_tied=all(side == 0.5 for side in sides))


def decide_share(votes: Sequence[Vote], share: float, *, all_tied: bool) -> Decision:
    """Return the decision that A is better with this probability; where no side is likelier there is no pair."""
    if math.isclose(share, 0.5):
        return Decision(Outcome.TIE if all_tied else Outcome.DISAGREEMENT)
    outcome = Outcome.A if share > 0.5 else Outcome.B
    return Decision(outcome, compute_margin(votes, outcome), max(share, 1 - share))


def decide_by_reliability(votes: Mapping[int, Sequence[Vote]]) -> dict[int, Decision]:
    """Return the likeliest class of every comparison once each labeler is believed as far as she proves right.

    A source of imports is one labeler. A class that is not likelier than all others together is a disagreement.
    """
    flat = [(pk, vote) for pk, found in votes.items() for vote in found]
    names = {vote.labeler if vote.labeler is not None else vote.source: 0 for _, vote in flat}
    numbers = {name: number for number, name in enumerate(names)}
    crowd = fit_crowd(
        [pk for pk, _ in flat],
        [numbers[vote.labeler if vote.labeler is not None else vote.source] for _, vote in flat],
        [CLASSES.index(classify_vote(vote)) for _, vote in flat],
        n_classes=len(CLASSES),
    )
    posteriors = zip(crowd.items.tolist(), crowd.posterior.tolist(), strict=True)
    return {pk: decide_posterior(votes[pk], posterior) for pk, posterior in posteriors}


def decide_posterior(votes: Sequence[Vote], posterior: Sequence[float]) -> Decision:
    """Return the class likelier than all others together; its target counts ties and "both bad" half."""
    p_a, p_tie, p_b, p_bad = posterior
    outcome = CLASSES[max(range(len(CLASSES)), key=lambda place: posterior[place])]
    if max(posterior) <= 0.5:
        return Decision(Outcome.DISAGREEMENT)
    if outcome not in (Outcome.A, Outcome.B):
        return Decision(outcome)
    share = (p_a if outcome == Outcome.A else p_b) + (p_tie + p_bad) / 2
    return Decision(outcome, compute_margin(votes, outcome), share)


def prefers_unsafe(decision: Decision, votes: Sequence[Vote]) -> bool:
    """Whether most labelers flagged the preferred side as unsafe, and not the other."""
    if decision.outcome not in (Outcome.A, Outcome.B):
        return False
    flags = [(vote.unsafe_a, vote.unsafe_b) for vote in votes if vote.labeler is not None]
    is_unsafe_a, is_unsafe_b = (2 * sum(flag[side] for flag in flags) > len(flags) for side in (0, 1))
    return is_unsafe_a > is_unsafe_b if decision.outcome == Outcome.A else is_unsafe_b > is_unsafe_a


def classify_vote(vote: Vote) -> Outcome:
    """Return what one vote says; "both bad" outweighs the preference given with it."""
    if vote.both_bad:
        return Outcome.BOTH_BAD
    if vote.strength == 0:
        return Outcome.TIE
    return Outcome.A if vote.strength < 0 else Outcome.B


def decide_majority(votes: Sequence[Vote], *, min_judgments: int = 1) -> Outcome:
    """Return what more than half of the votes say."""
    if len(votes) < max(min_judgments, 1):
        return Outcome.TOO_FEW
    outcome, n_votes = Counter(classify_vote(vote) for vote in votes).most_common(1)[0]
    return outcome if 2 * n_votes > len(votes) else Outcome.DISAGREEMENT


def compute_margin(votes: Sequence[Vote], outcome: Outcome) -> float:
    """Return how strongly the votes for a side prefer it, 0 .. 1: their mean strength, rounded to a whole step.

    A side that wins without a vote for it, by what labelers known to say the opposite deny, is as strong as their denial.
    """
    if outcome not in (Outcome.A, Outcome.B):
        return 0.0
    votes = [vote for vote in votes if classify_vote(vote) == outcome] or [vote for vote in votes if vote.strength]
    step = int(sum(abs(vote.strength) for vote in votes) / len(votes) + 0.5)
    return MARGINS[Scale(votes[0].scale)][step]


def put_on_one_scale(votes: Sequence[Vote]) -> Sequence[Vote]:
    """Return the votes on a comparison as steps of one scale: where their scales differ, the nearest of seven."""
    if len({vote.scale if vote.scale in FORCED else Scale.SEVEN for vote in votes}) < 2:
        return votes
    return [replace(vote, strength=to_seven(vote.strength, vote.scale), scale=Scale.SEVEN) for vote in votes]
