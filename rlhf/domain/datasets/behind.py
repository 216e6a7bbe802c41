"""Who would stand behind the rows of a rule, before it is frozen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from labeling.models import Project
from rlhf.domain.datasets.capping import find_most
from rlhf.domain.datasets.pairs import make_pairs
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.votes import collect_votes

SHARE_WATCHED = 0.1  # of one labeler; a poisoned twentieth is enough to turn a model: arXiv 2404.05530, 2410.08811


@dataclass(frozen=True)
class Behind:
    """The votes behind rows, counted once for each: by labeler, the most first. n_others: recorded elsewhere."""

    counts: Mapping[int, int]
    n_others: int = 0

    @property
    def n_votes(self) -> int:
        return sum(self.counts.values()) + self.n_others

    @property
    def largest(self) -> int | None:
        """The labeler who has the most."""
        return next(iter(self.counts), None)

    def share(self, labeler: int | None) -> float:
        return self.counts.get(labeler or 0, 0) / self.n_votes if self.n_votes else 0.0

    def can_keep(self, share_max: float) -> bool:
        """Whether there are labelers enough for a cap."""
        return find_most(self.counts, share_max=share_max, n_others=self.n_others) > 0


def count_behind(project: Project, rule: FreezeRule) -> Behind:
    """Count the votes as the sources of the dataset would name them, with nobody excluded and no cap yet."""
    rule = dataclasses.replace(rule, exclude_labelers=(), labeler_share_max=0.0)
    pairs = make_pairs(project, collect_votes(project, rule), rule)
    behind = (
        vote for line in pairs.lines for vote in ([line.fix] if line.fix else pairs.votes.get(line.comparison, []))
    )
    counts = Counter(vote.labeler for vote in behind)
    n_others = counts.pop(None, 0)
    return Behind({labeler: n for labeler, n in counts.most_common() if labeler is not None}, n_others)
