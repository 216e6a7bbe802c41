"""What a loop sets over the defaults, of its runs and of its freeze rule: checked, and read and written as lines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from labeling.models import Project
from rlhf.contract.config import CONFIGS
from rlhf.contract.errors import ConfigError
from rlhf.contract.settings import RunConfig, build_config, parse_setting
from rlhf.domain.checkpoints import find_reward_model
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.votes import find_labelers
from rlhf.domain.errors import LearningError
from rlhf.domain.evaluation import MEASURES, find_measure
from rlhf.domain.planning import FOLDERS, find_ptx
from rlhf.domain.stages import METHODS, PREVIOUS, name_part, split_stage
from rlhf.models import Run

JUDGE = "heldout_model"
PTX = "ptx_dataset"
KINDS = [kind for kind in CONFIGS if kind != Run.Kind.FEEDBACK]
PARTS = {stage for stages in METHODS.values() for stage in stages if ":" in stage} | {name_part("sample", PREVIOUS)}
# What a round says itself, and which of the loop's fields it says it by.
SETTLED = {
    **dict.fromkeys(FOLDERS, "a round finds its models itself"),
    "samples_of": "a round scores its own samples",
    "sample.n": "set n_samples of the loop",
    "merge.weight": "set average_weight of the loop",
}
SETTLED_OF_RULE = ("upto", "after")


class InvalidSetting(LearningError):
    """A loop cannot set this."""


def check_settings(project: Project, settings: Any) -> None:
    """Refuse settings that the runs of a round could not be made with. Raises: LearningError."""
    if not isinstance(settings, dict) or not all(isinstance(values, dict) for values in settings.values()):
        raise InvalidSetting('settings are objects by kind of run, such as {"ppo": {"kl_coef": 0.1}}')
    for stage, values in sorted(settings.items()):  # "dpo" before "dpo:ranked"
        config_class, (kind, part) = find_config(stage), split_stage(stage)
        for name, value in values.items():
            if because := SETTLED.get(name) or SETTLED.get(f"{stage}.{name}"):
                raise InvalidSetting(f"{stage}.{name} is not for a loop's settings: {because}")
            require_line(f"{stage}.{name}", value)
        try:
            build_config(config_class, {**(settings.get(kind, {}) if part else {}), **values})
        except ConfigError as error:
            raise InvalidSetting(f"{stage}: {error}") from error
        find_named(project, kind, values)


def find_named(project: Project, kind: str, values: Mapping[str, Any]) -> None:
    """Look for the models and datasets that settings name by their numbers; 0 names none. Raises: LearningError."""
    if judge := values.get(JUDGE):
        find_reward_model(project, judge)
    if number := values.get(PTX):
        find_ptx(project, number)
    for name in MEASURES if kind == Run.Kind.EVALUATE else ():
        if number := values.get(name):
            find_measure(project, name, number)


def check_rule(project: Project, rule: Any) -> None:
    """Refuse parts that make no freeze rule, or that a round says itself. Raises: LearningError."""
    if not isinstance(rule, dict):
        raise InvalidRule('a rule is an object of its parts, such as {"consensus": "dawid_skene"}')
    for name, value in rule.items():
        if name in SETTLED_OF_RULE:
            raise InvalidRule(f"{name} is not for a loop's rule: a round says itself which judgments it learns from")
        for one in value if isinstance(value, list) else [value]:
            require_line(name, one)
    find_labelers(project, FreezeRule.from_json(rule).exclude_labelers)


def require_line(name: str, value: Any) -> None:
    """Refuse a text that no line can show. Raises: InvalidSetting."""
    if isinstance(value, str) and not value.isprintable():
        raise InvalidSetting(f"{name} must be one line of printable text, got {value!r:.40}")


def find_config(stage: str) -> type[RunConfig]:
    """Return the configuration of a kind, or of a stage such as dpo:ranked. Raises: InvalidSetting."""
    if stage not in KINDS and stage not in PARTS:
        raise InvalidSetting(f"a round has no runs of {stage!r}: there are {', '.join([*KINDS, *sorted(PARTS)])}")
    return CONFIGS[split_stage(stage)[0]]


def spell_settings(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a loop's settings as kind.name: value."""
    return {f"{stage}.{name}": str(value) for stage, values in settings.items() for name, value in values.items()}


def spell_rule(rule: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a loop's rule as name: value."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in rule.items()}


def parse_settings(lines: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the settings that spell_settings wrote; what has no value is left out. Raises: InvalidSetting."""
    settings: dict[str, dict[str, Any]] = {}
    for line, text in lines.items():
        stage, dot, name = line.rpartition(".")
        if not dot:
            raise InvalidSetting(f"write kind.name = value, such as ppo.kl_coef = 0.1, got {line!r}")
        try:
            value = parse_setting(find_config(stage), name, text) if text else None
        except ConfigError as error:
            raise InvalidSetting(f"{stage}: {error}") from error
        if text:
            settings.setdefault(stage, {})[name] = value
    return settings


def parse_rule(lines: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts that spell_rule wrote, lists also as names with commas. What has no value is left out.

    A value that is not of its part's type stays a text, which FreezeRule refuses.
    """
    defaults = {item.name: item.default for item in dataclasses.fields(FreezeRule)}
    return {name: parse_part(defaults.get(name, ""), text) for name, text in lines.items() if text}


def parse_part(default: Any, text: str) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple) and not text.startswith("["):
        return [one.strip() for one in text.split(",")]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def split_lines(text: str) -> dict[str, str]:
    """Return name: value of `name = value` lines; empty ones say nothing. Raises: InvalidSetting."""
    found: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, separator, value = (part.strip() for part in line.partition("="))
        if not separator:
            raise InvalidSetting(f"write one name = value a line, got {line.strip()!r:.80}")
        if name in found:
            raise InvalidSetting(f"{name} is set twice")
        found[name] = value
    return found


def join_lines(lines: Mapping[str, str]) -> str:
    """Return the text that split_lines reads."""
    return "\n".join(f"{name} = {value}" for name, value in lines.items())
