"""A dataset's rule, counts and rows in words. Plain values in and out."""

from __future__ import annotations

from typing import Any

MAX_CHARS = 1500
RULE = {
    "include": "made of",
    "consensus": "a pair needs",
    "upto": "votes up to judgment",
    "after": "comparisons judged after judgment",
    "min_judgments": "judgments a comparison needs",
    "use_extra": "late votes count",
    "use_margin": "strength kept as margin",
    "test_share": "share held out for tests",
    "seed": "seed",
    "note": "note",
}
SOURCES = {
    "own": "our own labelers",
    "generated": "what the demo's generator wrote",
    "prompts": "prompts of the project",
    "demonstrations": "imported demonstrations",
    "completions": "all completions of the project",
}
COUNTS = {
    "pairs": "pairs",
    "rows": "rows",
    "ties": "ties, left out",
    "both_bad": "both bad, left out",
    "disagreements": "without a majority, left out",
    "too_few_judgments": "with too few judgments, left out",
    "held_out": "on held-out prompts, left out",
    "votes": "votes",
    "guidelines": "votes by guideline version",
    "groups": "groups of prompts",
}


def describe_rule(rule: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rule as (what, text), known parts in their order and others under their own name."""
    said = [(key, words, value) for key, words, value in in_order(rule, RULE) if value not in ("", None)]
    return [(words, say_rule(key, value)) for key, words, value in said if value or key not in ("upto", "after")]


def describe_counts(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the counts as (what, text); what is zero is left out, except the rows themselves."""
    return [
        (words, say_count(value)) for key, words, value in in_order(counts, COUNTS) if value or key in ("pairs", "rows")
    ]


def in_order(values: dict[str, Any], words: dict[str, str]) -> list[tuple[str, str, Any]]:
    keys = [*(key for key in words if key in values), *(key for key in values if key not in words)]
    return [(key, words.get(key, key), values[key]) for key in keys]


def say_rule(key: str, value: Any) -> str:
    if key == "include":
        return " + ".join(say_source(name) for name in ([value] if isinstance(value, str) else value))
    if key == "consensus" and value == "majority":
        return "more than half of the votes"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "test_share":
        return f"{value:.0%}"
    return str(value)


def say_source(name: str) -> str:
    if name in SOURCES:
        return SOURCES[name]
    return f"{name.removeprefix('imported:')} (imported)" if name.startswith("imported:") else name


def say_count(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{say_source(key)} {number}" for key, number in value.items())
    return str(value)


def show_row(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a row as (name, text), conversations turn by turn, long texts cut."""
    shown: list[tuple[str, str]] = []
    for name in ("prompt", "chosen", "rejected", "messages", "text"):
        value = row.get(name)
        if isinstance(value, list):
            turns = [(str(message["role"]), str(message["content"])) for message in value]
            is_side = name in ("chosen", "rejected")
            shown += [(name if is_side else role, cut(content)) for role, content in turns]
        elif value is not None:
            shown.append((name, cut(str(value))))
    extras = ("margin", "weight", "target", "source")
    shown += [(name, str(row[name])) for name in extras if name in row]
    return shown


def cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} … ({len(text) - MAX_CHARS} more characters)"
