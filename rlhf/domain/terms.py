"""What a round was begun with: the loop's settings of that moment, kept with the round and read again by every stage."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from labeling.models import Project
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.models import Loop, Round

# The reward model's accuracy is what people look at: of 300 judgments, a tenth would leave it an interval of 40 points.
# Policies are frozen alike, for the next reward model is trained from them: what one is tested on none may have learned.
TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The settings of a loop as one of its rounds keeps them; the fields are those of models.Loop."""

    threshold: int = 100
    slice_id: int | None = None
    min_agreement: float | None = None
    method: str = Loop.Method.DPO.value
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    rule: dict[str, Any] = field(default_factory=dict)
    average_weight: float = 0.0
    n_pairs: int = 300
    n_samples: int = 2
    strategy: str = Loop.Strategy.RANDOM.value
    random_share: float = 0.1
    previous_share: float = 0.2
    stale_after: int = 2
    stale_rule: str = Loop.Stale.DOWNRANK.value
    gate: str = Loop.Gate.PEOPLE.value
    gate_votes: int = 50
    gate_win_rate: float = 0.5
    tax_limit: float = 0.1

    def to_json(self) -> dict[str, Any]:
        """Return what Round.terms keeps."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the terms that to_json wrote; what a round of an older version does not say has its default."""
        names = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


def get_loop(project: Project) -> Loop:
    """Return the project's loop, made with its defaults when it is asked for first."""
    return Loop.objects.get_or_create(project=project)[0]


def freeze_terms(loop: Loop) -> Terms:
    """Return the loop's settings as they are now."""
    return Terms(**{item.name: getattr(loop, item.name) for item in dataclasses.fields(Terms)})


def read_terms(round: Round) -> Terms:
    """Return the terms the round was begun with."""
    return Terms.from_json(round.terms)


def choose_rule(terms: Terms, *, upto: int, after: int) -> FreezeRule:
    """Return the rule by which a round freezes the judgments between two of them, by id."""
    return FreezeRule.from_json({"test_share": TEST_SHARE, **terms.rule, "upto": upto, "after": after})
