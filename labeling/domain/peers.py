"""How each labeler's votes stand beside those of the others. Plain numbers: no database here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from labeling.domain.crowd import fit_crowd

Vote = tuple[int, int, int]  # item, labeler, strength -3 (A) .. +3 (B)


@dataclass(frozen=True)
class Standing:
    """One labeler beside the others. agreed: whether each vote named the winner most others name, in order.

    n_shared: her votes on what others judged too. reliability: how likely a vote of hers is right, as Dawid and Skene's
    model has it; None without any that is shared.
    """

    agreed: list[bool] = field(default_factory=list)
    n_shared: int = 0
    reliability: float | None = None


def compare_peers(
    votes: Sequence[Vote],
    *,
    suspects: AbstractSet[int] = frozenset(),
    old: AbstractSet[tuple[int, int]] = frozenset(),
) -> dict[int, Standing]:
    """Return every labeler's standing, given work in the order it was judged.

    A vote is compared where it names a winner and the others, without her, have one too. Suspects are compared with the
    others, and nobody is compared with them. old: (item, labeler) of votes others are compared with, that are not
    compared themselves.
    """
    leads, n_votes = Counter[int](), Counter[int]()
    for item, labeler, strength in votes:
        if labeler not in suspects:
            leads[item] += sign(strength)
            n_votes[item] += 1
    shared = [vote for vote in votes if n_votes[vote[0]] > (vote[1] not in suspects)]
    reliability = measure_reliability(shared)
    if suspects:
        reliability |= measure_reliability([vote for vote in shared if vote[1] not in suspects])
    counts = Counter(labeler for _item, labeler, _strength in shared)
    found = {
        labeler: Standing([], counts[labeler], reliability.get(labeler))
        for labeler in dict.fromkeys(labeler for _item, labeler, _strength in votes)
    }
    for item, labeler, strength in shared:
        lead = leads[item] - (0 if labeler in suspects else sign(strength))
        if strength and lead and (item, labeler) not in old:
            found[labeler].agreed.append((strength > 0) == (lead > 0))
    return found


def measure_reliability(votes: Sequence[Vote]) -> dict[int, float]:
    """Return by labeler how likely a vote is right, of A, tie and B."""
    items, labelers, strengths = zip(*votes, strict=True) if votes else ((), (), ())
    classes = [sign(strength) + 1 for strength in strengths]
    return fit_crowd(items, labelers, classes, n_classes=3).measure_reliability()


def sign(strength: int) -> int:
    return (strength > 0) - (strength < 0)
