"""What a file holds and what is wrong with it, before anything of it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from labeling.domain.content import UNSTORABLE, Message
from labeling.domain.intake.items import Example, Item, Pair
from labeling.domain.intake.refusals import Reason, Said, tell
from labeling.domain.intake.tags import N_SLICES

N_BAD_SHOWN = 50
N_SAMPLED = 5
N_LOOKED = 2000  # to search every text for a name would take longer than all else
N_SAMPLE_CHARS = 2000
N_REASON_CHARS = 400
N_WORD_CHARS = 200
N_CAUSE_CHARS = 1000


@dataclass
class Report:
    """The counts of one reading; n_known_* are those the project already has. hear_bad hears of every bad row."""

    format: str
    unit: str = "line"
    n_rows: int = 0
    n_pairs: int = 0
    n_unjudged: int = 0
    n_repeated_pairs: int = 0
    n_known_pairs: int = 0
    n_telling: int = 0  # of the first N_LOOKED pairs, those a completion of which says who wrote it
    n_demonstrations: int = 0
    n_prompts: int = 0
    n_known_prompts: int = 0
    n_bad: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    bad_said: list[Said | None] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    slices: set[tuple[str, str]] = field(default_factory=set)
    n_tagged: int = 0
    sample: list[dict[str, Any]] = field(default_factory=list)
    hear_bad: Callable[[int, str], None] | None = None

    def add_bad(self, line: int, reason: str) -> None:
        """Count a bad row and keep the first ones to show."""
        self.n_rows += 1
        self.n_bad += 1
        said, reason = clean_said(reason), clean(reason, N_REASON_CHARS)
        if len(self.bad) < N_BAD_SHOWN:
            self.bad.append((line, reason))
            self.bad_said.append(said)
        if self.hear_bad:
            self.hear_bad(line, reason)

    def add_slice(self, name: str, language: str) -> None:
        """Keep the names of slices, up to one more than there may be."""
        self.n_tagged += 1
        if len(self.slices) <= N_SLICES:
            self.slices.add((name, language))

    def add_sample(self, items: list[Item]) -> None:
        """Keep the first rows as they were understood."""
        self.sample += [sample_item(item) for item in items[: N_SAMPLED - len(self.sample)]]

    def to_json(self) -> dict[str, Any]:
        """Return what Import.report keeps: no text of it is long, and every database can store it."""
        return {
            **{name: value for name, value in vars(self).items() if name.startswith("n_") or name == "unit"},
            "bad": self.bad,
            "bad_said": self.bad_said,
            "notes": {clean(reason, N_REASON_CHARS): n for reason, n in self.notes.items()},
            "slices": sorted(f"{name} ({language})" if language else name for name, language in self.slices),
            "sample": self.sample,
        }

    def to_lines(self) -> list[str]:
        """Return the report for people, one finding a line."""
        lines = [f"{self.n_rows:,} rows in the format {self.format}"]
        lines.append(f"  {self.n_prompts:,} prompts, {self.n_known_prompts:,} of them already in the project")
        if self.n_pairs:
            lines.append(f"  {self.n_pairs:,} recorded votes on pairs of completions")
        if self.n_unjudged:
            lines.append(f"  {self.n_unjudged:,} pairs of completions that nobody has judged")
        if self.n_pairs or self.n_unjudged:
            lines.append(f"  {self.n_repeated_pairs:,} votes on a pair that came earlier in the file (kept as votes)")
            lines.append(f"  {self.n_known_pairs:,} pairs already in the project")
        if self.n_telling:
            lines.append(
                f"  {self.n_telling:,} of the first {N_LOOKED:,} pairs say which model wrote them: nobody is asked about such"
            )
        if self.n_demonstrations:
            lines.append(f"  {self.n_demonstrations:,} demonstrations")
        if self.slices:
            lines.append(f"  {len(self.slices):,} slices")
        lines += [f"  left out: {n:,} {reason}" for reason, n in sorted(self.notes.items())]
        lines.append(f"  {self.n_bad:,} bad rows")
        lines += [f"    {self.unit} {line}: {reason}" for line, reason in self.bad]
        if self.n_bad > len(self.bad):
            lines.append(f"    and {self.n_bad - len(self.bad):,} more")
        return lines


def sample_item(item: Item) -> dict[str, Any]:
    """Return a row as it was understood, its texts cut for a page."""
    shown: dict[str, Any] = {
        "prompt": [
            {"role": message["role"], "content": clean(message["content"], N_SAMPLE_CHARS)}
            for message in item.prompt[-4:]
        ]
    }
    if isinstance(item, Pair):
        shown["strength"], shown["both_bad"] = item.strength, item.both_bad
        shown["texts"] = [clean(item.better, N_SAMPLE_CHARS), clean(item.worse, N_SAMPLE_CHARS)]
    elif isinstance(item, Example):
        shown["texts"] = [clean(item.text, N_SAMPLE_CHARS)]
    return shown


def report_cause(reason: str) -> dict[str, Any]:
    """Return what a report keeps of why nothing of the file can be imported."""
    return {"cause": clean(reason, N_CAUSE_CHARS), "cause_said": clean_said(reason)}


def translate_report(report: dict[str, Any]) -> dict[str, Any]:
    """Return a kept report with its reasons, and the roles in its values, in the language of now."""
    told = dict(report)
    if "columns" in report:
        told["columns"] = [(name, [tell_value(value) for value in values]) for name, values in report["columns"]]
    if report.get("cause_said"):
        told["cause"] = tell(report["cause_said"])
    if report.get("bad_said"):
        bad = zip(report["bad"], report["bad_said"], strict=True)
        told["bad"] = [[line, tell(said) if said else reason] for (line, reason), said in bad]
    return told


def tell_value(value: str | list[Message]) -> str:
    """Return a value of a column as people read it: of messages one turn a line."""
    if isinstance(value, str):
        return value
    roles = {"user": _("User"), "assistant": _("Assistant"), "system": _("System")}
    return "\n".join(f"{roles[message['role']]}: {message['content']}" for message in value)


def clean_said(reason: str) -> Said | None:
    """Return a reason as it is kept to be told in any language; None for one that was made of words of one only."""
    return clean_words(reason.said) if isinstance(reason, Reason) else None


def clean_words(said: Said) -> Said:
    message, words = said
    kept: dict[str, Any] = {}
    for name, word in words.items():
        if isinstance(word, dict):
            kept[name] = {"said": clean_words(word["said"])}
        else:
            kept[name] = clean(word, N_WORD_CHARS) if isinstance(word, str) else word
    return [message, kept]


def clean(text: str, n_chars: int) -> str:
    """Return a stranger's text as every database keeps it, cut to n_chars."""
    cut = text if len(text) <= n_chars else f"{text[: n_chars - 1]}…"
    return UNSTORABLE.sub("\ufffd", cut)
