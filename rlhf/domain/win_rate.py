"""How often people prefer one checkpoint's completions to another's, from the judgments they gave without knowing whose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.cache import cache
from django.db.models import Max

from labeling.models import Adjudication, Judgment, Project
from rlhf.domain.bradley_terry import Estimate, Matches, find_connected, fit_matches, rate_against
from rlhf.domain.meetings import build_matches, collect_meetings, collect_opinions, find_sides
from rlhf.models import AIJudgment, Checkpoint, Sample

N_STYLE_RESAMPLES = 200  # covariates keep every comparison apart, which costs
CACHE_S = 600  # what changes without a new row, such as who is in quarantine, is seen after as long
NO_STANDINGS = "none"


@dataclass(frozen=True)
class Rating:
    """A checkpoint beside the baseline. people, controlled, models: win rates; None where nothing joins the two.

    controlled: by the same votes, of two texts alike in length and markdown. models: by AI judgments, never by people's.
    """

    checkpoint: Checkpoint
    is_baseline: bool
    n_votes: int
    people: Estimate | None
    controlled: Estimate | None
    models: Estimate | None
    n_model_votes: int


@dataclass(frozen=True)
class Standings:
    """All compared checkpoints of a project against one of them, the best first.

    effects: by what factor the odds of a text rise when it is twice as long, and when it has all the markdown.
    """

    baseline: Checkpoint
    ratings: list[Rating]
    effects: dict[str, float]
    n_votes: int
    n_comparisons: int


@dataclass(frozen=True)
class Duel:
    """The votes on completions of two checkpoints, each against the other, and what they come to."""

    wins: int
    ties: int
    losses: int
    n_prompts: int
    estimate: Estimate | None
    controlled: Estimate | None

    @property
    def n_votes(self) -> int:
        return self.wins + self.ties + self.losses


def measure_duel(candidate: Checkpoint, baseline: Checkpoint) -> Duel:
    """Return how often people prefer the candidate's completions to the baseline's, of those they compared directly."""
    pair = (candidate.pk, baseline.pk)
    meetings = [m for m in collect_meetings(candidate.project, checkpoints=pair) if {m.left, m.right} == set(pair)]
    said = [(m.win, m.tie, m.loss) if m.left == candidate.pk else (m.loss, m.tie, m.win) for m in meetings]
    wins, ties, losses = (sum(votes[kind] > 0 for votes in said) for kind in range(3))
    n_prompts = len({meeting.prompt for meeting in meetings})
    if not meetings:
        return Duel(0, 0, 0, 0, None, None)
    matches = build_matches(meetings, [candidate.pk, baseline.pk])
    plain = rate_against(matches.without_covariates(), 1)[0]
    controlled = rate_against(matches, 1, n_resamples=N_STYLE_RESAMPLES)[0]
    return Duel(wins, ties, losses, n_prompts, plain, controlled)


def rank_checkpoints(project: Project, *, baseline: Checkpoint | None = None) -> Standings | None:
    """Return the standing of every checkpoint people compared; None before any were.

    The baseline is the oldest of them unless another is named. The answer is kept until another vote or sample comes.
    """
    last = {
        "judgment": Judgment.objects.of_project(project).aggregate(pk=Max("pk"))["pk"],
        "sample": Sample.objects.filter(run__project=project).aggregate(pk=Max("pk"))["pk"],
        "review": Adjudication.objects.filter(comparison__project=project).aggregate(pk=Max("pk"))["pk"],
        "opinion": AIJudgment.objects.filter(comparison__project=project).aggregate(pk=Max("pk"))["pk"],
    }
    key = f"standings-{project.pk}-{baseline.pk if baseline else 0}-{'-'.join(str(pk) for pk in last.values())}"
    kept: Standings | str | None = cache.get(key)
    if kept is None:  # nothing is kept: that there is no standing is NO_STANDINGS
        kept = compute_standings(project, baseline=baseline) or NO_STANDINGS
        cache.set(key, kept, CACHE_S)
    return kept if isinstance(kept, Standings) else None


def compute_standings(project: Project, *, baseline: Checkpoint | None = None) -> Standings | None:
    """Return what rank_checkpoints keeps."""
    sides = find_sides(project)
    people, models = list(collect_meetings(project, sides=sides)), list(collect_opinions(project, sides=sides))
    met = {pk for meeting in [*people, *models] for pk in (meeting.left, meeting.right)}
    found = {row.pk: row for row in Checkpoint.objects.filter(pk__in=met).select_related("run", "parent")}
    order = sorted(found)
    if not order or (baseline is not None and baseline.pk not in found):
        return None
    against = found[baseline.pk if baseline else order[0]]
    place = order.index(against.pk)
    matches, opinions = build_matches(people, order), build_matches(models, order)
    plain = estimate(matches.without_covariates(), place)
    controlled = estimate(matches, place, n_resamples=N_STYLE_RESAMPLES)
    judged = estimate(opinions.without_covariates(), place)
    ratings = [
        Rating(
            checkpoint=found[pk],
            is_baseline=pk == against.pk,
            n_votes=sum(pk in (meeting.left, meeting.right) for meeting in people),
            people=plain.get(number),
            controlled=controlled.get(number),
            models=judged.get(number),
            n_model_votes=sum(pk in (meeting.left, meeting.right) for meeting in models),
        )
        for number, pk in enumerate(order)
    ]
    ratings.sort(key=lambda rating: (-(rating.people.rate if rating.people else -1.0), -rating.checkpoint.pk))
    return Standings(
        baseline=against,
        ratings=ratings,
        effects=describe_effects(matches),
        n_votes=len(people),
        n_comparisons=len({meeting.comparison for meeting in people}),
    )


def describe_effects(matches: Matches) -> dict[str, float]:
    """Return what length and markdown do to the odds of a vote; 1 is nothing."""
    length, markdown = fit_matches(matches).effects.tolist() if len(matches.left) else (0.0, 0.0)
    return {"length": math.exp(length / 3), "markdown": math.exp(markdown)}  # twice as long: (2 - 1) / (2 + 1) more


def estimate(matches: Matches, baseline: int, **options: Any) -> dict[int, Estimate]:
    """Return the win rates of those models that votes join to the baseline."""
    joined = find_connected(matches, baseline) if len(matches.left) else {baseline}
    kept = matches.where(np.isin(matches.left, list(joined)))
    if not len(kept.left):
        return {}
    rates = rate_against(kept, baseline, **options)
    return {model: rates[model] for model in joined}


def as_share(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as plain numbers, for answers and records."""
    return {"win_rate": estimate.rate, "low": estimate.low, "high": estimate.high, "n_effective": estimate.n_effective}
