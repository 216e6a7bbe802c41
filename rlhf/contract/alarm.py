"""Signs that a policy learns to please its reward model rather than people; any two of them together are an alarm.

Source: training.md of the specification, after Gao et al., arXiv 2210.10760, and Stiennon et al., arXiv 2009.01325.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIGNS_OF_ALARM = 2


@dataclass(frozen=True)
class Sign:
    """One sign. name: a key such as "proxy_outruns"; words: a sentence with its figures."""

    name: str
    words: str


def find_signs(history: Sequence[Mapping[str, float]], *, turn: float | None = None) -> list[Sign]:
    """Return the signs that the metrics of a run's rollouts show, the first rollout first.

    Args: history: what describe_rollout logs. turn: the KL at which the true reward is expected to fall, nats.
    """
    return []
