"""Who met whom: opinions on two checkpoints' completions of one prompt, people's and models', as votes to rank by.

A comparison counts where its two completions are samples of two checkpoints. What counts as a vote is what a dataset
frozen by the default rule counts. A vote weighs as much more as it was less likely to be asked for (its propensity).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.models import Comparison, Judgment, Project
from rlhf.domain.bradley_terry import Matches
from rlhf.domain.datasets.consensus import Decision, Outcome, Vote, classify_vote
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.votes import CHUNK, collect_votes
from rlhf.models import AIJudgment, Sample

MAX_WEIGHT = 20.0  # of a vote: what was asked for by a rare chance shall not decide alone
STYLE = ("length", "markdown")
# Headings, items of lists, bold, code: marks that make a text look thorough.
MARKDOWN = re.compile(r"^ {0,3}(?:#{1,6} |[-*+] |\d+[.)] |```)|\*\*[^*\n]+\*\*|`[^`\n]+`", re.MULTILINE)


@dataclass(frozen=True)
class Meeting:
    """One opinion on two checkpoints' completions of one prompt: how much of it is for each side, and its weight."""

    comparison: int
    prompt: int
    left: int
    right: int
    win: float
    tie: float
    loss: float
    weight: float


def find_sides(project: Project) -> dict[int, set[int]]:
    """Return the checkpoints that drew each completion: mostly one, more where several said the same."""
    sides: dict[int, set[int]] = defaultdict(set)
    rows = Sample.objects.filter(run__project=project, completion__isnull=False).order_by()
    for completion, checkpoint in rows.values_list("completion", "checkpoint").iterator(CHUNK):
        sides[completion].add(checkpoint)
    return sides


def collect_meetings(
    project: Project, *, sides: Mapping[int, set[int]] | None = None, checkpoints: Iterable[int] = ()
) -> Iterator[Meeting]:
    """Yield people's votes on completions of two checkpoints; with `checkpoints` of these alone."""
    sides = find_sides(project) if sides is None else sides
    ballot = collect_votes(project, FreezeRule())
    found = find_pairs(project, sides, set(checkpoints), {*ballot.votes, *ballot.overridden})
    wanted = [vote.judgment_id for pk in found for vote in ballot.votes.get(pk, [])]
    propensities = read_propensities([pk for pk in wanted if pk])
    for pk, (prompt, proposed, pairs) in found.items():
        overridden = ballot.overridden.get(pk)
        opinions = [(split_decision(overridden), proposed)] if overridden else []
        for vote in [] if overridden else ballot.votes.get(pk, []):
            opinions.append((split_vote(vote), propensities.get(vote.judgment_id or 0, proposed)))
        yield from spread(pk, prompt, pairs, opinions)


def collect_opinions(project: Project, *, sides: Mapping[int, set[int]]) -> Iterator[Meeting]:
    """Yield what annotators that passed their exam said of completions of two checkpoints, as shares of a vote."""
    rows = AIJudgment.objects.filter(comparison__project=project, annotator__exam="passed", annotator__is_active=True)
    said = defaultdict(list)
    for comparison, p in rows.order_by("id").values_list("comparison", "p").iterator(CHUNK):
        said[comparison].append(p)
    for pk, (prompt, proposed, pairs) in find_pairs(project, sides, set(), set(said)).items():
        yield from spread(pk, prompt, pairs, [((p, 0.0, 1 - p), proposed) for p in said[pk]])


def find_pairs(
    project: Project, sides: Mapping[int, set[int]], checkpoints: set[int], judged: set[int]
) -> dict[int, tuple[int, float, list[tuple[int, int]]]]:
    """Return the judged comparisons of two checkpoints: prompt, propensity, and who may stand behind A and B."""
    found = {}
    for pk, prompt, propensity, a, b in read_comparisons(project, sorted(judged)):
        pairs = [(left, right) for left in sorted(sides.get(a, ())) for right in sorted(sides.get(b, ()))]
        is_asked = not checkpoints or any({left, right} <= checkpoints for left, right in pairs if left != right)
        # Where both were drawn by the same checkpoints, either verdict says nothing of which is better.
        if is_asked and sides.get(a) != sides.get(b) and any(x != y for x, y in pairs):
            found[pk] = (prompt, propensity, pairs)
    return found


def read_comparisons(project: Project, wanted: Sequence[int]) -> Iterator[tuple[int, int, float, int, int]]:
    """Yield the named comparisons of a project, by id: prompt, propensity and both completions."""
    for start in range(0, len(wanted), CHUNK):
        rows = Comparison.objects.filter(project=project, pk__in=wanted[start : start + CHUNK]).order_by("pk")
        yield from rows.values_list("pk", "prompt", "propensity", "completion_a", "completion_b")


def spread(
    pk: int,
    prompt: int,
    pairs: Sequence[tuple[int, int]],
    opinions: Iterable[tuple[tuple[float, float, float], float]],
) -> Iterator[Meeting]:
    """Yield one opinion as meetings; where several checkpoints said the same, each is as likely to stand behind it."""
    for (win, tie, loss), propensity in opinions:
        weight = min(1 / propensity, MAX_WEIGHT) / len(pairs)
        for left, right in pairs:
            if left != right:
                yield Meeting(pk, prompt, left, right, win, tie, loss, weight)


def split_vote(vote: Vote) -> tuple[float, float, float]:
    """Return how much of a vote is for A, for neither and for B; "both bad" prefers neither."""
    outcome = classify_vote(vote)
    return float(outcome == Outcome.A), float(outcome in (Outcome.TIE, Outcome.BOTH_BAD)), float(outcome == Outcome.B)


def split_decision(decision: Decision) -> tuple[float, float, float]:
    """Return the same of what a reviewer decided in place of the votes."""
    is_a, is_b = decision.outcome == Outcome.A, decision.outcome == Outcome.B
    return float(is_a), float(not is_a and not is_b), float(is_b)


def read_propensities(judgments: Sequence[int]) -> dict[int, float]:
    """Return how likely each judgment was asked for, the proposal of its comparison included."""
    found: dict[int, float] = {}
    for start in range(0, len(judgments), CHUNK):
        rows = Judgment.objects.filter(pk__in=judgments[start : start + CHUNK])
        found |= dict(rows.values_list("pk", "propensity"))
    return found


def build_matches(meetings: Sequence[Meeting], order: Sequence[int]) -> Matches:
    """Return the meetings as columns, models numbered as in `order`, with the style of both texts. Reads the texts."""
    places = {pk: number for number, pk in enumerate(order)}
    styles = compare_styles({meeting.comparison for meeting in meetings})
    merged: dict[tuple[int, int, int, int], list[float]] = {}
    for m in meetings:
        votes = merged.setdefault((m.comparison, m.prompt, places[m.left], places[m.right]), [0.0, 0.0, 0.0])
        for kind, share in enumerate((m.win, m.tie, m.loss)):
            votes[kind] += m.weight * share
    keys, weighed = list(merged), np.array(list(merged.values())).reshape(-1, 3)
    # Weights say how votes compare, not how many there were.
    weighed = weighed * (len(meetings) / max(weighed.sum(), 1e-300))
    columns = np.array(keys, dtype=np.int64).reshape(-1, 4)
    style = np.array([styles[key[0]] for key in keys]).reshape(-1, len(STYLE))
    return Matches(
        left=columns[:, 2],
        right=columns[:, 3],
        wins=weighed[:, 0],
        ties=weighed[:, 1],
        losses=weighed[:, 2],
        prompts=columns[:, 1],
        covariates=style,
        n_models=len(order),
    )


def compare_styles(comparisons: set[int]) -> dict[int, tuple[float, float]]:
    """Return, by comparison, what A has more of than B: (a - b) / (a + b) of characters and of marks of markdown."""
    found: dict[int, tuple[float, float]] = {}
    wanted = sorted(comparisons)
    for start in range(0, len(wanted), CHUNK):
        rows = Comparison.objects.filter(pk__in=wanted[start : start + CHUNK])
        for pk, a, b in rows.values_list("pk", "completion_a__text", "completion_b__text"):
            found[pk] = (
                balance(len(a), len(b)),
                balance(len(MARKDOWN.findall(a)), len(MARKDOWN.findall(b))),
            )
    return found


def balance(a: float, b: float) -> float:
    """Return (a - b) / (a + b), from -1 to 1; 0 where there is nothing of either."""
    return (a - b) / (a + b) if a + b else 0.0
