"""People beside the reward model: how often its choice would have been theirs, of pairs it has not learned from.

A fall of the accuracy with a new policy says that it is time to train it again; a labeler far below the others, that it is
time to look at her votes; many ties with a policy, that its completions have become hard to tell apart. Nobody who judges
sees any of it: scores are asked for afterwards, or were asked for when a round chose its pairs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from labeling.domain.intervals import wilson_interval
from labeling.domain.votes import VoteRow, read_votes
from labeling.models import Comparison, Project, User
from rlhf.domain.datasets.split import TRAIN
from rlhf.domain.errors import NotReady
from rlhf.domain.meetings import find_sides
from rlhf.domain.pair_scores import score_pairs
from rlhf.models import Checkpoint, DatasetSource, PairScore, Run

MAX_VOTES = 20_000  # the newest: an older vote says little about the policy of today
CHUNK = 500
STRENGTHS = {3: "much better", 2: "better", 1: "slightly better"}
Name = Callable[[VoteRow], Iterable[str]]


@dataclass(frozen=True)
class Line:
    """Votes of one kind. n: those with a winner whose pair was scored, and not learned; right: the share chosen alike.

    n_votes: all of the kind, learned or not, since no tie is ever learned; ties: the share of them that sees no difference.
    """

    name: str
    n: int
    right: float | None
    low: float | None
    high: float | None
    n_votes: int
    ties: float | None


@dataclass(frozen=True)
class Board:
    """What a reward model and people say of the same pairs. parts: lines by what they are told apart by."""

    reward_model: Checkpoint
    whole: Line
    parts: dict[str, list[Line]]
    unscored: list[int]


def read_board(reward_model: Checkpoint) -> Board:
    """Return how a reward model does on the newest votes it has not learned from."""
    project = reward_model.project
    learned = list_learned(reward_model)
    votes = [vote for vote in read_votes(project, with_words=False, n_most=MAX_VOTES) if vote.is_counted]
    margins = read_margins(reward_model)
    said = {pk: margin for pk, margin in margins.items() if margin is not None and pk not in learned}
    policies, people = name_policies(project, {vote.item for vote in votes}), name_labelers(votes)
    names: dict[str, Name] = {
        "strength": lambda vote: [STRENGTHS[abs(vote.strength)]] if vote.strength else [],
        "policy": lambda vote: policies.get(vote.item, ()),
        "slice": lambda vote: [vote.slice] if vote.slice else [],
        "labeler": lambda vote: [people[vote.labeler]],
    }
    return Board(
        reward_model=reward_model,
        whole=measure("all", votes, said),
        parts={part: list(measure_parts(votes, said, name, part=part)) for part, name in names.items()},
        unscored=sorted({vote.item for vote in votes if vote.strength} - margins.keys() - learned),
    )


def score_board(reward_model: Checkpoint, *, user: User | None = None) -> Run:
    """Queue the run that scores the judged pairs the board has no score of. Raises: NotReady when it has them all."""
    run = score_pairs(reward_model, read_board(reward_model).unscored, user=user, board=reward_model.pk)
    if run is None:
        raise NotReady(f"{reward_model} has scored every judged pair it has not learned from")
    return run


def list_learned(reward_model: Checkpoint) -> set[int]:
    """Return the comparisons behind what a reward model was trained on; one from outside has learned none of ours."""
    if reward_model.run is None or reward_model.run.dataset is None:
        return set()
    sources = DatasetSource.objects.filter(dataset=reward_model.run.dataset, split=TRAIN)
    return set(sources.values_list("comparison", flat=True).iterator(CHUNK))


def read_margins(reward_model: Checkpoint) -> dict[int, float | None]:
    """Return what a reward model said of each comparison; None where a text did not fit."""
    scores = PairScore.objects.filter(reward_model=reward_model)
    return dict(scores.values_list("comparison", "margin").iterator(CHUNK))


def name_policies(project: Project, items: set[int]) -> dict[int, list[str]]:
    """Return the names of the policies whose completions each comparison shows."""
    sides = find_sides(project)
    names = dict(Checkpoint.objects.filter(project=project, kind=Checkpoint.Kind.POLICY).values_list("pk", "name"))
    columns = Comparison.objects.filter(project=project).values_list("pk", "completion_a", "completion_b")
    return {
        pk: sorted({names[each] for side in (a, b) for each in sides.get(side, ()) if each in names})
        for pk, a, b in columns.iterator(CHUNK)
        if pk in items
    }


def name_labelers(votes: Iterable[VoteRow]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in={vote.labeler for vote in votes}).values_list("pk", "username"))


def measure_parts(votes: list[VoteRow], said: Mapping[int, float], name: Name, *, part: str) -> Iterator[Line]:
    """Yield a line for each name that votes have: strengths from the strongest, policies the newest first, others by size."""
    found: dict[str, list[VoteRow]] = defaultdict(list)
    for vote in votes:
        for each in name(vote):
            found[each].append(vote)
    newest = {each: max(vote.judgment for vote in of_name) for each, of_name in found.items()}
    size = Counter({each: len(of_name) for each, of_name in found.items()})
    order = {
        "strength": [each for each in STRENGTHS.values() if each in found],
        "policy": sorted(found, key=lambda each: -newest[each]),
    }.get(part) or [each for each, _ in size.most_common()]
    yield from (measure(each, found[each], said) for each in order)


def measure(name: str, votes: list[VoteRow], said: Mapping[int, float]) -> Line:
    """Return the line of some votes. Equal scores count half, as they do when a reward model is evaluated."""
    decided = [(vote.strength, said[vote.item]) for vote in votes if vote.strength and vote.item in said]
    hits = [0.5 if margin == 0 else float((margin > 0) == (strength < 0)) for strength, margin in decided]
    ties = [vote.is_tie for vote in votes if vote.is_tie is not None]
    low, high = wilson_interval(sum(hits), len(hits)) if hits else (None, None)  # type: ignore[arg-type]
    return Line(
        name=name,
        n=len(hits),
        right=sum(hits) / len(hits) if hits else None,
        low=low,
        high=high,
        n_votes=len(votes),
        ties=sum(ties) / len(ties) if ties else None,
    )
