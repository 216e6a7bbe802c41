"""Whether a candidate takes the place of the policy before it: by what people prefer, or by its evaluation's figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlhf.models import Checkpoint, Loop


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate.

    passes: None while it cannot be said: votes or an evaluation are missing. reasons: sentences with their figures.
    figures: what they were read from, for pages and for the record.
    """

    passes: bool | None
    reasons: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


def decide(candidate: Checkpoint, *, terms: dict[str, Any], baseline: Checkpoint) -> Verdict:
    """Say whether the candidate passes the project's gate against the policy it would follow. Reads, changes nothing.

    Args: terms: gate, gate_votes, gate_win_rate and tax_limit, as Loop names them; what is missing is as Loop has it.
    """
    gate = terms.get("gate", Loop.Gate.PEOPLE)
    if gate == Loop.Gate.OPEN:
        return Verdict(True, ["Every policy passes: the gate is open."], {"gate": gate})
    return Verdict(None, [f"{candidate} has not been compared with {baseline} yet."], {"gate": gate})
