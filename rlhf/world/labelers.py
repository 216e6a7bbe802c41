"""Simulated labelers: they follow the hidden rule with noise of a known size, so what was learned can be measured."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from rlhf.contract.records import Message
from rlhf.world.judge import gold_score
from rlhf.world.prompts import prompt_key

# Felt differences below the first are a tie, then slightly better, better, much better.
STRENGTH_THRESHOLDS = (0.25, 0.8, 2.0)


@dataclass(frozen=True)
class SimulatedLabeler:
    """A labeler who feels the gold difference of two answers through noise, and sometimes presses the wrong key.

    The felt difference is gold(B) - gold(A) plus logistic noise of scale `temperature`, so its sign is a Bradley-Terry
    draw: P(feels B better) = sigmoid((gold(B) - gold(A)) / temperature). Its size, cut at STRENGTH_THRESHOLDS, is the
    strength. A share `slip_rate` of the verdicts is turned round. The same labeler asked twice answers the same.

    With the defaults, of pairs that the demo's fine-tuned model draws, 12% are ties, and of the verdicts on answers of
    unequal worth 88% are right.
    """

    seed: int
    slip_rate: float = 0.05
    temperature: float = 0.5

    def prefer(self, prompt: list[Message], a: str, b: str) -> int:
        """Return a strength from -3 (A much better) through 0 (tie) to 3 (B much better). Equal texts tie."""
        if a == b:
            return 0
        rng = random.Random(f"{self.seed}\n{prompt_key(prompt)}\nA: {a}\nB: {b}")
        felt = gold_score(prompt, b).total - gold_score(prompt, a).total + self.temperature * draw_logistic(rng)
        strength = sum(abs(felt) >= threshold for threshold in STRENGTH_THRESHOLDS)
        has_slipped = rng.random() < self.slip_rate
        return strength if (felt > 0) != has_slipped else -strength


def draw_logistic(rng: random.Random) -> float:
    """Return a draw from the standard logistic distribution."""
    share = min(max(rng.random(), 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))
