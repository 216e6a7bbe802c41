"""A dataset's rule, counts and rows in words. Plain values in and out."""

from __future__ import annotations

from typing import Any

from rlhf.domain.datasets.rule import CONSENSUS

MAX_CHARS = 1500
RULE = {
    "include": "made of",
    "format": "read as",
    "file_sha256": "sha256 of the file",
    "consensus": "a pair needs",
    "soft": "soft labels",
    "upto": "votes up to judgment",
    "after": "comparisons judged after judgment",
    "min_judgments": "judgments a comparison needs",
    "use_extra": "late votes count",
    "use_hasty": "hasty votes count",
    "use_quarantined": "quarantined votes count",
    "use_gold": "votes on gold count",
    "use_unsafe": "pairs that prefer the unsafe count",
    "use_fixes": "rewritten texts make pairs",
    "exclude_labelers": "without the votes of",
    "guideline_from": "votes from guideline version",
    "labeler_share_max": "one labeler at most",
    "learn_from": "learned from",
    "use_margin": "strength kept as margin",
    "test_share": "share held out for tests",
    "seed": "seed",
    "samples_of": "with samples of run",
    "note": "note",
}
# Said only where they say something.
QUIET = (
    "upto",
    "after",
    "soft",
    "use_quarantined",
    "use_gold",
    "use_unsafe",
    "exclude_labelers",
    "guideline_from",
    "labeler_share_max",
)
SOURCES = {
    "fixes": "rewritten by our own labelers",
    "own": "our own labelers",
    "generated": "what the demo's generator wrote",
    "prompts": "prompts of the project",
    "pairs": "pairs a reward model scores",
    "questions": "what an annotator is asked",
    "demonstrations": "imported demonstrations",
    "completions": "all completions of the project",
}
COUNTS = {
    "pairs": "pairs",
    "rows": "rows",
    "prompts": "prompts",
    "subsets": "pairs by subset",
    "ties": "ties, left out",
    "both_bad": "both bad, left out",
    "disagreements": "without a winner, left out",
    "too_few_judgments": "with too few judgments, left out",
    "held_out": "on held-out prompts, left out",
    "retired_left_out": "retired by a reviewer, left out",
    "triage_left_out": "waiting for a reviewer, left out",
    "overridden": "decided by a reviewer",
    "fixes": "pairs of rewritten texts",
    "ranked": "pairs a reward model ranked, seen by nobody",
    "unpaired": "bad completions, for unpaired training",
    "votes": "votes",
    "quarantined_left_out": "votes from quarantine, left out",
    "excluded_left_out": "votes of excluded labelers, left out",
    "earlier_guideline_left_out": "votes under earlier guidelines, left out",
    "hasty_left_out": "hasty votes, left out",
    "late_left_out": "late votes, left out",
    "gold_left_out": "gold now, left out",
    "unsafe_left_out": "pairs that prefer the unsafe, left out",
    "sent_back_left_out": "votes sent back by a reviewer, left out",
    "over_share_left_out": "votes over a labeler's share, left out",
    "ai": "pairs said by AI",
    "ai_judged_by_people_left_out": "said by AI of what people have judged, left out",
    "ai_disputed_left_out": "said by AI where a reward model is sure of the other side, left out",
    "ai_said_by_another_left_out": "said by another annotator, left out",
    "ai_test_left_out": "said by AI of prompts tested on, left out",
    "ai_ties_left_out": "AI's ties, left out",
    "ai_unsure_left_out": "left to people by AI, left out",
    "ai_held_out_left_out": "said by AI of held-out prompts, left out",
    "ai_exams": "AI's exams",
    "guidelines": "votes by guideline version",
    "groups": "groups of prompts",
}


def describe_rule(rule: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rule as (what, text), known parts in their order and others under their own name."""
    said = [(key, words, value) for key, words, value in in_order(rule, RULE) if value not in ("", None)]
    return [(words, say_rule(key, value)) for key, words, value in said if value or key not in QUIET]


def describe_counts(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the counts as (what, text); what is zero is left out, except the rows themselves."""
    said = in_order({key: value for key, value in counts.items() if key != "unpaired_sha256"}, COUNTS)
    return [(words, say_count(value)) for key, words, value in said if value or key in ("pairs", "rows")]


def in_order(values: dict[str, Any], words: dict[str, str]) -> list[tuple[str, str, Any]]:
    keys = [*(key for key in words if key in values), *(key for key in values if key not in words)]
    return [(key, words.get(key, key), values[key]) for key in keys]


def say_rule(key: str, value: Any) -> str:
    if key == "include":
        return " + ".join(say_source(name) for name in ([value] if isinstance(value, str) else value))
    if key == "consensus":
        return CONSENSUS.get(value, str(value))
    if key == "exclude_labelers":
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("test_share", "labeler_share_max"):
        return f"{value:.0%}"
    return str(value)


def say_source(name: str) -> str:
    if name in SOURCES:
        return SOURCES[name]
    if name.startswith("ai:"):
        return f"{name.removeprefix('ai:')} (AI)"
    if name.startswith("file:"):
        return f"the file {name.removeprefix('file:')}"
    return f"{name.removeprefix('imported:')} (imported)" if name.startswith("imported:") else name


def say_count(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{say_source(key)} {say_exam(number)}" for key, number in value.items())
    return str(value)


def say_exam(value: Any) -> str:
    """Return a number as it is, and an annotator's exam by how it agrees with people, and they among themselves."""
    if not isinstance(value, dict):
        return str(value)
    return (
        f"agrees with people in {value.get('agreement', 0):.1%}, they among themselves in {value.get('people', 0):.1%}"
    )


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
    extras = ("margin", "weight", "target", "source", "annotator_kind")
    shown += [(name, str(row[name])) for name in extras if name in row]
    return shown


def cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} … ({len(text) - MAX_CHARS} more characters)"
