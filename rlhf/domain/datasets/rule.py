"""The rule that turns votes into a dataset."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from rlhf.domain.errors import LearningError

OWN = "own"
IMPORTED = "imported:"
AI = "ai:"
LEARNED = ("all", "people", "ai")
CONSENSUS = {
    "majority": "more than half of the votes",
    "mean3": "the mean of the three most similar votes",
    "dawid_skene": "votes weighed by how reliable each labeler proves (Dawid and Skene)",
    "soft": "the share of the votes, as a soft label",
    "strength": "how strongly each vote prefers, as a soft label",
}
TYPES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}
SOFT = ("soft", "strength")  # what they come to is a soft label


class InvalidRule(LearningError):
    """A freeze rule says something that cannot be."""


@dataclass(frozen=True, kw_only=True)
class FreezeRule:
    """Which votes count, and how they become pairs. Kept with the dataset, as JSON.

    include: "own" for our labelers, "imported:NAME" for a source of imports, "ai:NAME" for an annotator that passed its
        exam: only of comparisons no person has judged, weighted, and never in the test split.
    consensus: "majority": more than half of the votes on a comparison. "mean3": the mean of the three most similar
        strengths, as HelpSteer2 has it. "dawid_skene": the class that is likelier than all others together once each
        labeler is believed as far as she proves right. "soft": the share of the votes for a side, ties and
        "both bad" half. "strength": the mean of how sure the votes for a side are, slightly better .72, better .87, much
        better .94, ties and "both bad" half. Ties and "both bad" never become a pair.
    soft: with dawid_skene, write how likely the side is as the target of the row; "soft" and "strength" always do.
    upto: count our judgments up to this id; 0 counts all there are.
    after: take only comparisons our labelers judged after the judgment of this id; all their votes count.
    use_extra: count votes that came after their slot had gone to someone else.
    use_hasty: count votes that came sooner than anyone could have read the texts.
    use_quarantined: count votes of labelers who are in quarantine.
    use_gold: count votes of work, imports and reviewers on comparisons that are gold now; answers to gold, repeats and
        exams are never data.
    use_unsafe: count pairs whose chosen completion most labelers flagged as unsafe while the other is not.
    use_fixes: add pairs of what labelers rewrote, better than both completions they were given.
    use_margin: write how strong the preference is as the margin of the row, for the reward model's loss.
    exclude_labelers: usernames, or ids, of labelers whose votes do not count.
    guideline_from: count votes made under this version of the guideline or a later one; 0 counts all.
    learn_from: "all" that is included; or "people" or "ai" alone, where three reward models are to be compared: what is
        tested on is the same of people's pairs in all three, and no prompt of it is learned from. What annotators said
        of pairs that people have judged is left out, except with "ai".
    labeler_share_max: the largest share of the votes behind the rows that one labeler may have, a row of a fix being a
        vote of hers; 0 sets no cap.
    """

    include: tuple[str, ...] = (OWN,)
    consensus: str = "majority"
    soft: bool = False
    min_judgments: int = 1
    upto: int = 0
    after: int = 0
    use_extra: bool = True
    use_hasty: bool = True
    use_quarantined: bool = False
    use_gold: bool = False
    use_unsafe: bool = False
    use_fixes: bool = True
    use_margin: bool = False
    exclude_labelers: tuple[str, ...] = ()
    guideline_from: int = 0
    labeler_share_max: float = 0.0
    learn_from: str = "all"
    test_share: float = 0.1
    seed: int = 42
    note: str = ""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_type(item.name, getattr(self, item.name), type(item.default))
        bad = [name for name in self.include if name != OWN and not is_named(name)]
        if bad or not self.include:
            raise InvalidRule(
                f"include must name {OWN}, {IMPORTED}SOURCE or {AI}ANNOTATOR, got {', '.join(bad) or 'nothing'}"
            )
        if self.consensus not in CONSENSUS:
            raise InvalidRule(f"consensus must be one of {', '.join(CONSENSUS)}, got {self.consensus!r}")
        if self.soft and self.consensus not in ("dawid_skene", *SOFT):
            raise InvalidRule(
                f"soft goes with consensus dawid_skene, {' or '.join(SOFT)}, and not with {self.consensus}"
            )
        if self.min_judgments < 1:
            raise InvalidRule(f"min_judgments must be at least 1, got {self.min_judgments}")
        if self.upto < 0 or self.after < 0:
            raise InvalidRule(f"upto and after are ids of judgments, got {self.upto} and {self.after}")
        if self.guideline_from < 0:
            raise InvalidRule(f"guideline_from is a version of the guideline, got {self.guideline_from}")
        if not 0 <= self.labeler_share_max <= 1:
            raise InvalidRule(f"labeler_share_max must be from 0 to 1, got {self.labeler_share_max}")
        if self.learn_from not in LEARNED:
            raise InvalidRule(f"learn_from must be one of {', '.join(LEARNED)}, got {self.learn_from!r}")
        if not 0 <= self.test_share < 1:
            raise InvalidRule(f"test_share must be at least 0 and under 1, got {self.test_share}")

    @property
    def is_soft(self) -> bool:
        """Whether rows say how likely the chosen side is."""
        return self.soft or self.consensus in SOFT

    def to_json(self) -> dict[str, Any]:
        """Return what Dataset.rule keeps; learn_from only where it says something: datasets keep the hash they have."""
        parts = {
            **dataclasses.asdict(self),
            "include": list(self.include),
            "exclude_labelers": list(self.exclude_labelers),
        }
        if self.learn_from == "all":
            del parts["learn_from"]
        return parts

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the rule that to_json wrote, also before it had all its parts. Raises: InvalidRule."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in dataclasses.fields(cls))
            raise InvalidRule(f"unknown parts of a rule: {', '.join(unknown)}; it has {known}")
        parts = dict(values)
        for name in ("include", "exclude_labelers"):
            if isinstance(parts.get(name), list):
                parts[name] = tuple(parts[name])
        return cls(**parts)


def check_type(name: str, value: Any, wanted: type) -> None:
    """Refuse a part of another type. Raises: InvalidRule."""
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if not fits or (wanted is tuple and not all(isinstance(one, str) for one in value)):
        raise InvalidRule(f"{name} must be {TYPES[wanted]}, got {value!r:.80}")


def is_named(include: str) -> bool:
    """Say whether a part of include names a source or an annotator."""
    return any(include.startswith(prefix) and include != prefix for prefix in (IMPORTED, AI))
