"""When a run must not go on: rules over what it has logged so far, each with a sentence that says what to change.

A rule looks at the whole history and keeps no state of its own, so a resumed run, whose checkpoint brings its history
along, stops where the undisturbed one would have stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.kinds.ppo import PPOConfig

# Values that end the run when they are not finite. Others (a ratio of an empty mask, say) are only left out of the log.
GUARDED = ("loss", "grad_norm", "loss/policy_avg", "loss/value_avg", "objective/kl")
N_ROWS_NAMED = 8
FINISHED = "rollout/finished_frac"
# What several methods advise, each the end of a sentence.
DISTANCE = "lower learning_rate, or raise kl_limit if that distance is wanted"
ENDLESS = "raise missing_eos_penalty or max_new_tokens, lower learning_rate, or raise finished_drop"


class StopError(Exception):
    """The run cannot go on and nothing of it may be published; the message says why and what to change."""


class NonFiniteError(StopError, ArithmeticError):
    """A loss or a gradient became NaN or infinite."""


class Rule(Protocol):
    """A reason to stop."""

    def complain(self, values: Sequence[float]) -> str:
        """Return why the run must stop, empty when it may go on. values: of `name`, oldest first, the last is new."""

    @property
    def name(self) -> str:
        """The metric that the rule looks at."""


@dataclass(frozen=True)
class Ceiling:
    """A metric that may not go beyond a limit. advice: what to change, the end of a sentence."""

    name: str
    limit: float
    advice: str

    def complain(self, values: Sequence[float]) -> str:
        """Return why the run must stop, empty when it may go on."""
        last = values[-1]
        return (
            f"{self.name} is {last:.4g}, beyond the limit of {self.limit:g}; {self.advice}" if last > self.limit else ""
        )


@dataclass(frozen=True)
class Fall:
    """A metric that may not lie more than `by` under its best of the run, `patience` logged values in a row.

    One bad rollout may be the draw of its prompts; a collapsed policy stays down.
    """

    name: str
    by: float
    advice: str
    patience: int = 2

    def complain(self, values: Sequence[float]) -> str:
        """Return why the run must stop, empty when it may go on."""
        before, recent = values[: -self.patience], values[-self.patience :]
        if not before or max(recent) >= max(before) - self.by:
            return ""
        return (
            f"{self.name} fell from {max(before):.3g} to {recent[-1]:.3g}, more than {self.by:g}, "
            f"and stayed there {self.patience} times; {self.advice}"
        )


def require_rules(rules: Iterable[Rule], history: Sequence[dict[str, Any]]) -> None:
    """Raise StopError at the first rule that the run breaks.

    Args: history: the values logged at each step, each with its `step`, oldest first. A rule speaks only when the last
        of them has its metric.
    """
    for rule in rules:
        values = [float(logged[rule.name]) for logged in history if rule.name in logged]
        if rule.name in history[-1] and (complaint := rule.complain(values)):
            raise StopError(f"stopped at step {history[-1]['step']}: {complaint}")


def require_finite(step: int, values: dict[str, float], *, rows: Sequence[int] = ()) -> None:
    """Raise NonFiniteError, naming step and rows, when a loss or a gradient norm among `values` is NaN or infinite."""
    for name in GUARDED:
        if not math.isfinite(values.get(name, 0.0)):
            raise NonFiniteError(
                f"non-finite {name} at step {step}{describe_rows(rows)}; lower learning_rate or max_grad_norm, "
                "or look at this step's rows"
            )


def describe_rows(rows: Sequence[int]) -> str:
    """Return the row numbers of a step in words, the first few of many; empty for none."""
    if not rows:
        return ""
    more = f" and {len(rows) - N_ROWS_NAMED} more" if len(rows) > N_ROWS_NAMED else ""
    return f" (rows {', '.join(str(row) for row in rows[:N_ROWS_NAMED])}{more} of those learned from, counted from 0)"


def ppo_rules(config: PPOConfig) -> list[Rule]:
    """Return what stops a PPO run: the policy ran away from its reference, its rewards collapsed, or it ends no more."""
    rules: list[Rule] = []
    if config.kl_limit:
        rules.append(Ceiling("objective/kl", config.kl_limit, f"raise kl_coef, {DISTANCE}"))
    if config.score_drop and config.reward_norm == "reference":  # without a norm, a fall has no unit
        advice = "lower learning_rate or target_kl, raise kl_coef, or raise score_drop"
        rules.append(Fall("objective/scores_norm", config.score_drop, advice))
    if config.finished_drop:
        rules.append(Fall(FINISHED, config.finished_drop, ENDLESS))
    return rules


def grpo_rules(config: GRPOConfig) -> list[Rule]:
    """Return what stops a run without a critic: the policy ran away from its reference, or ends its completions no more."""
    rules: list[Rule] = []
    if config.kl_limit:
        rules.append(Ceiling("kl", config.kl_limit, f"raise kl_coef, {DISTANCE}"))
    if config.finished_drop:
        rules.append(Fall(FINISHED, config.finished_drop, ENDLESS))
    return rules


def dpo_rules(config: DPOConfig) -> list[Rule]:
    """Return what stops a DPO run: even the chosen completions became unlikely, so that it writes neither side.

    Source: likelihood displacement, arXiv 2410.08847.
    """
    if config.is_reference_free or not config.chosen_drop:
        return []
    advice = "raise beta, lower learning_rate, or set sft_coef, which keeps chosen completions likely"
    return [Ceiling("logps/chosen_fall", config.chosen_drop, advice)]


def kto_rules(config: KTOConfig) -> list[Rule]:
    """Return what stops a KTO run: even the good completions became unlikely, or the policy ran away from its reference."""
    rules: list[Rule] = []
    if config.chosen_drop:
        advice = "raise beta, lower learning_rate, or raise desirable_weight, which keeps good completions likely"
        rules.append(Ceiling("logps/chosen_fall", config.chosen_drop, advice))
    if config.kl_limit and config.loss_type == "kto":
        rules.append(Ceiling("kl/per_token", config.kl_limit, f"raise beta, {DISTANCE}"))
    return rules
