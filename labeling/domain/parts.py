"""Agreement in the parts of a project: its slices, weeks, pairs of labelers, and each labeler against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations

from labeling.domain.agreement import Agreement, Vote, measure_labeler, measure_pair, measure_votes
from labeling.domain.votes import VoteRow
from labeling.domain.weeks import find_monday
from labeling.models import User
from labeling.models.scales import FORCED, to_seven

MAX_PAIRS = 200  # the pairs of labelers who share most; of a thousand labelers nobody reads all


def measure_whole(votes: Sequence[VoteRow]) -> list[Agreement]:
    return [measure_votes(to_plain(votes))]


def measure_slices(votes: Sequence[VoteRow]) -> list[Agreement]:
    parts = split(votes, lambda vote: vote.slice)
    return [measure_votes(to_plain(parts[name]), name=name) for name in sorted(parts)]


def measure_weeks(votes: Sequence[VoteRow]) -> list[Agreement]:
    latest: dict[int, datetime] = {}
    for vote in votes:
        latest[vote.item] = max(vote.submitted_at, latest.get(vote.item, vote.submitted_at))
    mondays = {item: find_monday(at).date().isoformat() for item, at in latest.items()}
    parts = split(votes, lambda vote: mondays[vote.item])
    return [measure_votes(to_plain(parts[name]), name=name) for name in sorted(parts)]


def measure_all_pairs(votes: Sequence[VoteRow]) -> list[Agreement]:
    """Return the agreement of the pairs of labelers who share most, by name."""
    shared: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for same_item in split(votes, lambda vote: str(vote.item)).values():
        ordered = sorted(same_item, key=lambda vote: vote.labeler)
        for one, other in combinations(ordered, 2):
            shared.setdefault((one.labeler, other.labeler), []).append((one.strength, other.strength))
    most = Counter({pair: len(strengths) for pair, strengths in shared.items()}).most_common(MAX_PAIRS)
    names = list_names(vote.labeler for vote in votes)
    named = {" - ".join(sorted((names[one], names[other]))): shared[one, other] for (one, other), _n in most}
    return [measure_pair(named[name], name=name) for name in sorted(named)]


def measure_labelers(votes: Sequence[VoteRow]) -> list[Agreement]:
    """Return how far each labeler agrees with the others on what she judged, by name."""
    by_item = split(votes, lambda vote: str(vote.item))
    by_labeler = split(votes, lambda vote: str(vote.labeler))
    names = list_names(vote.labeler for vote in votes)
    return [
        measure_labeler(
            (vote for own in hers for vote in to_plain(by_item[str(own.item)])),
            hers[0].labeler,
            name=names[hers[0].labeler],
        )
        for hers in sorted(by_labeler.values(), key=lambda hers: names[hers[0].labeler])
    ]


PARTS: dict[str | None, Callable[[Sequence[VoteRow]], list[Agreement]]] = {
    None: measure_whole,
    "slice": measure_slices,
    "week": measure_weeks,
    "pair": measure_all_pairs,
    "labeler": measure_labelers,
}


def split(votes: Iterable[VoteRow], key: Callable[[VoteRow], str]) -> dict[str, list[VoteRow]]:
    found: dict[str, list[VoteRow]] = {}
    for vote in votes:
        found.setdefault(key(vote), []).append(vote)
    return found


def choose_votes(found: Iterable[VoteRow]) -> tuple[Sequence[VoteRow], int]:
    """Return the votes agreement is measured on, on one scale, and how many were left out as asked for on disagreement.

    Where a project asks on when labelers disagree, the later votes are of contested comparisons alone: two who name the
    same winner 68 times in 100 would seem to do so 85 times, and who often comes third to agree with nobody. Reviewers
    send back what is contested: without what was said before, it would be as if nobody had disagreed.
    """
    counted = [vote for vote in found if not vote.is_quarantined]
    chosen = [vote for vote in counted if not vote.is_conditional]
    return put_on_one_scale(chosen), len(counted) - len(chosen)


def put_on_one_scale(votes: Sequence[VoteRow]) -> Sequence[VoteRow]:
    """Return votes as steps that can be compared: where some were forced and others were not, the nearest of seven."""
    if len({vote.scale in FORCED for vote in votes}) < 2:
        return votes
    return [replace(vote, strength=to_seven(vote.strength, vote.scale)) for vote in votes]


def to_plain(votes: Iterable[VoteRow]) -> list[Vote]:
    return [(vote.item, vote.labeler, vote.strength) for vote in votes]


def list_names(labelers: Iterable[int]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=set(labelers)).values_list("pk", "username"))
