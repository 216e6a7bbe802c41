"""What each labeler is compared with: the answers of the others together. Plain numbers: no database here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from labeling.domain.flags import is_careful
from labeling.domain.peers import Standing
from labeling.domain.votes import VoteRow

Key = TypeVar("Key", int, str)
Row = TypeVar("Row")

MIN_POOL = 50  # of fewer votes nobody can say what is usual


@dataclass(frozen=True)
class Pool:
    """Yes of n answers of all labelers together."""

    k: int
    n: int

    def without(self, answers: Sequence[bool]) -> float | None:
        """Return the share among the answers of the others, or None where they are too few to tell."""
        n = self.n - len(answers)
        return (self.k - sum(answers)) / n if n >= MIN_POOL else None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one labeler's figures are made of, in the order she judged."""

    n: int  # votes she cast, of which the newest count
    votes: Sequence[VoteRow]
    gold: Sequence[bool]
    repeats: Sequence[bool]
    standing: Standing
    copies: Sequence[str]  # sentences
    is_quarantined: bool = False

    @property
    def lefts(self) -> list[bool]:
        return [vote.is_left for vote in self.votes if vote.is_left is not None]

    @property
    def ties(self) -> list[bool]:
        return [vote.is_tie for vote in self.votes if vote.is_tie is not None]

    @property
    def lengths(self) -> list[tuple[str, bool]]:
        """Whether the longer text won, with the slice."""
        return [(vote.slice, vote.is_longer) for vote in self.votes if vote.is_longer is not None]

    @property
    def longers(self) -> list[bool]:
        return [is_longer for _slice, is_longer in self.lengths]


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The shares one labeler is compared with: those of the others, unknown where they are too few to tell."""

    left: float
    longer: Sequence[float]  # for each of her lengths; none where unknown
    agreement: float | None
    repeats: float | None
    gold: float | None


def group(rows: Iterable[tuple[Key, Row]]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for key, row in rows:
        found.setdefault(key, []).append(row)
    return found


def list_pooled(said: Answers) -> dict[str, Sequence[bool]]:
    """Return the answers the others are compared with, by what is compared; in quarantine none, of guessers no gold."""
    if said.is_quarantined:
        return {}
    plain = {"left": said.lefts, "agreement": said.standing.agreed, "repeats": said.repeats, "longer": said.longers}
    by_slice = {f"longer in {name}": answers for name, answers in group(said.lengths).items()}
    return plain | by_slice | ({"gold": said.gold} if is_careful(said.gold) else {})


def pool_answers(crowd: Iterable[Answers]) -> dict[str, Pool]:
    """Return what all say together, by what is compared."""
    found: dict[str, Pool] = {}
    for said in crowd:
        for key, answers in list_pooled(said).items():
            before = found.get(key, Pool(0, 0))
            found[key] = Pool(before.k + sum(answers), before.n + len(answers))
    return found


def find_usual(said: Answers, pools: dict[str, Pool]) -> Usual:
    """Return the shares of the others; a slice of which they judged too little counts as the whole."""
    own = list_pooled(said)
    shares = {key: pool.without(own.get(key, [])) for key, pool in pools.items()}
    longer = shares.get("longer")
    by_vote = [] if longer is None else [(shares.get(f"longer in {name}"), longer) for name, _is in said.lengths]
    left = shares.get("left")
    return Usual(
        left=0.5 if left is None else left,  # sides are drawn evenly, so half is usual in any case
        longer=[whole if share is None else share for share, whole in by_vote],
        agreement=shares.get("agreement"),
        repeats=shares.get("repeats"),
        gold=shares.get("gold"),
    )
