"""The rule that turns votes into a dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from rlhf.domain.datasets.votes import IMPORTED, OWN
from rlhf.domain.errors import LearningError


class InvalidRule(LearningError):
    """A freeze rule says something that cannot be."""


@dataclass(frozen=True, kw_only=True)
class FreezeRule:
    """Which votes count, and how they become pairs. Kept with the dataset, as JSON.

    include: "own" for our labelers, "imported:NAME" for a source of imports.
    consensus: "majority": more than half of the votes on a comparison; ties and "both bad" never become a pair.
    upto: count our judgments up to this id; 0 counts all there are.
    after: take only comparisons our labelers judged after the judgment of this id; all their votes count.
    use_extra: count votes that came after their slot had gone to someone else.
    use_margin: write how strong the preference is as the margin of the row, for the reward model's loss.
    """

    include: tuple[str, ...] = (OWN,)
    consensus: str = "majority"
    min_judgments: int = 1
    upto: int = 0
    after: int = 0
    use_extra: bool = True
    use_margin: bool = False
    test_share: float = 0.1
    seed: int = 42
    note: str = ""

    def __post_init__(self) -> None:
        bad = [name for name in self.include if name != OWN and (not name.startswith(IMPORTED) or name == IMPORTED)]
        if bad or not self.include:
            raise InvalidRule(f"include must name {OWN} or {IMPORTED}SOURCE, got {', '.join(bad) or 'nothing'}")
        if self.consensus != "majority":
            raise InvalidRule(f"consensus must be majority, got {self.consensus!r}")
        if self.min_judgments < 1:
            raise InvalidRule(f"min_judgments must be at least 1, got {self.min_judgments}")
        if self.upto < 0 or self.after < 0:
            raise InvalidRule(f"upto and after are ids of judgments, got {self.upto} and {self.after}")
        if not 0 <= self.test_share < 1:
            raise InvalidRule(f"test_share must be at least 0 and under 1, got {self.test_share}")

    def to_json(self) -> dict[str, Any]:
        """Return what Dataset.rule keeps."""
        return {**dataclasses.asdict(self), "include": list(self.include)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the rule that to_json wrote. Raises: InvalidRule."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise InvalidRule(f"unknown parts of a rule: {', '.join(unknown)}")
        return cls(**{**values, "include": tuple(values.get("include", (OWN,)))})
