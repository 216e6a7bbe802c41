"""Simulated labelers: they follow the hidden rule with noise of a known size, or some bad habit, so figures can be tested."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from rlhf.contract.records import Message
from rlhf.world.judge import gold_score
from rlhf.world.prompts import prompt_key

# Felt differences below the first are a tie, then slightly better, better, much better.
STRENGTH_THRESHOLDS = (0.25, 0.8, 2.0)
BLIND_STRENGTH = 2  # of those who do not read


class Habit(StrEnum):
    """How a labeler judges. Only the honest read; the inverted read and say the opposite."""

    HONEST = "honest"
    RANDOM = "random"
    INVERTED = "inverted"
    LEFT = "always left"


@dataclass(frozen=True)
class SimulatedLabeler:
    """A labeler who feels the gold difference of two answers through noise, and sometimes presses the wrong key.

    The felt difference is gold(B) - gold(A) plus logistic noise of scale `temperature`, so its sign is a Bradley-Terry
    draw: P(feels B better) = sigmoid((gold(B) - gold(A)) / temperature). Its size, cut at STRENGTH_THRESHOLDS, is the
    strength. A share `slip_rate` of the verdicts is turned round. The same labeler asked twice answers the same.

    With the defaults, of pairs that the demo's fine-tuned model draws, 9% are ties, and of the verdicts on answers of
    unequal worth 89% are right. habit: how she judges instead, to try what finds bad labelers.
    """

    seed: int
    slip_rate: float = 0.05
    temperature: float = 0.5
    habit: Habit = Habit.HONEST

    def prefer(self, prompt: list[Message], a: str, b: str, *, a_is_left: bool = True) -> int:
        """Return a strength from -3 (A much better) through 0 (tie) to 3 (B much better). Equal texts tie when read."""
        rng = random.Random(f"{self.seed}\n{prompt_key(prompt)}\nA: {a}\nB: {b}")
        if self.habit == Habit.RANDOM:
            return rng.choice((-BLIND_STRENGTH, BLIND_STRENGTH))
        if self.habit == Habit.LEFT:
            return -BLIND_STRENGTH if a_is_left else BLIND_STRENGTH
        strength = self.read(prompt, a, b, rng)
        return -strength if self.habit == Habit.INVERTED else strength

    def read(self, prompt: list[Message], a: str, b: str, rng: random.Random) -> int:
        """Return what someone says who reads."""
        if a == b:
            return 0
        felt = gold_score(prompt, b).total - gold_score(prompt, a).total + self.temperature * draw_logistic(rng)
        strength = sum(abs(felt) >= threshold for threshold in STRENGTH_THRESHOLDS)
        has_slipped = rng.random() < self.slip_rate
        return strength if (felt > 0) != has_slipped else -strength


def draw_logistic(rng: random.Random) -> float:
    """Return a draw from the standard logistic distribution."""
    share = min(max(rng.random(), 1e-12), 1 - 1e-12)
    return math.log(share / (1 - share))
