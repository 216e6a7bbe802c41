"""What the columns of a file mean, when a person says so: our fields by the names of theirs."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.detection import Format
from labeling.domain.intake.formats.trl import read_sides
from labeling.domain.intake.items import BINARY_STRENGTH, Example, Item, Pair, ParsedRow, Question
from labeling.domain.intake.refusals import RowRefused
from labeling.domain.intake.tags import LANGUAGE_CHARS, LANGUAGE_KEYS, SLICE_CHARS, SLICE_KEYS
from labeling.domain.intake.turns import join_turns, read_messages, to_turns

FIELDS = ("prompt", "system", "chosen", "rejected", "completion", "verdict", "strength", "group", "slice", "language")
# Names under which the fields are met; the first column that bears one is guessed to be the field.
NAMES = {
    "prompt": ("prompt", "question", "instruction", "input", "query", "context", "post", "messages", "conversation"),
    "system": ("system", "system_prompt", "system_message"),
    "chosen": (
        *("chosen", "better", "preferred", "winner_text", "completion_a", "response_a", "answer_a", "output_a"),
        *("response_1", "response1", "answer_1", "answer1", "output_1", "completion_1", "text_a", "a", "left"),
    ),
    "rejected": (
        *("rejected", "worse", "dispreferred", "loser_text", "completion_b", "response_b", "answer_b", "output_b"),
        *("response_2", "response2", "answer_2", "answer2", "output_2", "completion_2", "text_b", "b", "right"),
    ),
    "completion": ("completion", "response", "answer", "output", "target", "demonstration"),
    "verdict": ("verdict", "winner", "preference", "choice", "label", "vote", "better_response"),
    "strength": ("strength", "preference_strength", "margin_steps"),
    "group": ("group", "conversation_id", "thread_id", "group_id"),
    "slice": SLICE_KEYS,
    "language": LANGUAGE_KEYS,
}
# What people write into a verdict's column.
VALUES = {
    "A": ("A", "a", "1", "left", "model_a", "response_a", "first"),
    "B": ("B", "b", "2", "right", "model_b", "response_b", "second"),
    # Not 0: beside 1 and 2 it is a tie, but in a column of 0 and 1 it is one of the two. Only a person knows which.
    "tie": ("tie", "T", "equal", "same", "both"),
    "both_bad": ("tie (bothbad)", "bothbad", "both_bad", "both bad"),
}
N_STRENGTHS = 3
# Columns so named say who won; beside others, a strength says it by its sign.
WINNERS = ("chosen", "better", "preferred", "winner_text")


class InvalidMapping(RowRefused):
    """A mapping says something that cannot be; the message says what to choose."""


@dataclass(frozen=True)
class Mapping:
    """Which column of theirs is which field of ours.

    With a verdict, chosen is completion A, rejected is B, and values says which values of its column mean A, B, tie and
    both_bad.
    Where verdict and strength are one column, its sign says who won: negative is A, positive is B, and 0 is a tie.
    Without a verdict, chosen won - or, where is_unjudged, nobody has judged yet.
    """

    columns: dict[str, str]
    values: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(VALUES))
    is_unjudged: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.columns) - set(FIELDS)):
            raise InvalidMapping(
                _("unknown fields: %(names)s; there are %(known)s"),
                names=", ".join(unknown),
                known=", ".join(FIELDS),
            )
        if ("chosen" in self.columns) != ("rejected" in self.columns):
            raise InvalidMapping(_("a pair needs two columns: say which holds the second completion, too"))
        if "chosen" not in self.columns and "prompt" not in self.columns:
            raise InvalidMapping(_("say which column holds the prompt"))
        if "chosen" in self.columns and "completion" in self.columns:
            raise InvalidMapping(_("a row is a pair or a demonstration: leave the completion out, or the pair"))
        if ("verdict" in self.columns or "strength" in self.columns) and "chosen" not in self.columns:
            raise InvalidMapping(_("a verdict is about a pair: say which columns hold its completions"))
        if self.is_unjudged and ("verdict" in self.columns or "strength" in self.columns):
            raise InvalidMapping(_("nobody has judged these pairs, so no column can hold a verdict or its strength"))
        speaks = "verdict" in self.columns and not self.is_signed
        if speaks and not (self.values.get("A") and self.values.get("B")):
            raise InvalidMapping(_("say which values of the verdict mean A and which mean B"))
        spoken = Counter(value for values in self.values.values() for value in values)
        if speaks and (twice := [value for value, n in spoken.items() if n > 1]):
            raise InvalidMapping(_("the value %(value)s can mean one verdict only"), value=repr(twice[0]))

    @property
    def is_signed(self) -> bool:
        """Whether one column says who won and by how much."""
        return "verdict" in self.columns and self.columns["verdict"] == self.columns.get("strength")

    @property
    def name(self) -> str:
        """The name of the format this makes: two ways to read one file are two imports of it."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        return f"mapped-{digest[:8]}"

    def to_format(self) -> Format:
        return Format(self.name, lambda row: True, self.read)

    def to_json(self) -> dict[str, Any]:
        """Return what Import.mapping keeps."""
        values = {verdict: list(found) for verdict, found in self.values.items()}
        return {"columns": self.columns, "values": values, "is_unjudged": self.is_unjudged}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        values = {verdict: tuple(found) for verdict, found in kept["values"].items()}
        return cls(kept["columns"], values, kept["is_unjudged"])

    def read(self, row: dict[str, Any]) -> ParsedRow:
        """Return what a row holds. Raises: InvalidContent."""
        name = self._read_tag(row, "slice", SLICE_CHARS)
        language = self._read_tag(row, "language", LANGUAGE_CHARS)
        return ParsedRow([self._read_item(row)], slice_name=name, language=language)

    def _read_item(self, row: dict[str, Any]) -> Item:
        if "chosen" in self.columns:
            return self._read_pair(row)
        prompt = self._get(row, "prompt")
        messages = read_messages(prompt) if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        messages = self._with_system(row, messages)
        if "completion" not in self.columns:
            return Question(messages)
        completion = self._get(row, "completion")
        text = join_turns(to_turns(read_messages(completion))) if isinstance(completion, list) else completion
        return Example(messages, text)

    def _read_pair(self, row: dict[str, Any]) -> Pair:
        names = [name for name in ("prompt", "chosen", "rejected") if name in self.columns]
        prompt, first, second = read_sides({name: self._get(row, name) for name in names})
        prompt = self._with_system(row, prompt)
        group = str(self._get(row, "group")) if self.columns.get("group") and self._has(row, "group") else None
        if self.is_unjudged:
            return Pair(prompt, first, second, strength=None, group=group)
        steps = self._read_steps(row) if "strength" in self.columns else None
        verdict = self._read_verdict(row, steps)
        strength = 0 if verdict in ("tie", "both_bad") else BINARY_STRENGTH if steps is None else abs(steps)
        better, worse = (second, first) if verdict == "B" else (first, second)
        return Pair(prompt, better, worse, strength=strength, group=group, both_bad=verdict == "both_bad")

    def _read_verdict(self, row: dict[str, Any], steps: int | None) -> str:
        """Return who won; steps, the strength with its sign, must not say otherwise."""
        if steps is not None and self.is_signed:
            return "A" if steps < 0 else "B" if steps else "tie"
        verdict = self._read_value(row) if "verdict" in self.columns else "A"
        if steps is not None and steps < 0 and verdict != "A":
            raise RowRefused(
                _("%(column)s says %(steps)s, that A won, but the verdict is %(verdict)s"),
                column=self.columns["strength"],
                steps=steps,
                verdict=verdict,
            )
        if steps is not None and steps < 0 and "verdict" not in self.columns:
            raise RowRefused(
                _("%(column)s says %(steps)s: where its sign says who won, choose it as the verdict, too"),
                column=self.columns["strength"],
                steps=steps,
            )
        return verdict

    def _read_value(self, row: dict[str, Any]) -> str:
        spelled = str(row.get(self.columns["verdict"])).strip()
        for verdict, values in self.values.items():
            if spelled in values:
                return verdict
        raise RowRefused(
            _("%(column)s says %(spelled)s, which means neither A nor B nor tie nor both bad"),
            column=self.columns["verdict"],
            spelled=repr(spelled[:80]),
        )

    def _read_steps(self, row: dict[str, Any]) -> int:
        spelled = str(row.get(self.columns["strength"])).strip()
        if not re.fullmatch(r"[+-]?[0-3](\.0*)?", spelled):
            raise RowRefused(
                _("%(column)s must be 0 to %(n_most)s, got %(spelled)s"),
                column=self.columns["strength"],
                n_most=N_STRENGTHS,
                spelled=repr(spelled[:80]),
            )
        return int(float(spelled))

    def _with_system(self, row: dict[str, Any], messages: list[dict[str, str]]) -> list[dict[str, str]]:
        if not self._has(row, "system") or (messages[:1] and messages[0]["role"] == "system"):
            return messages
        return [{"role": "system", "content": self._get_text(row, "system")}, *messages]

    def _read_tag(self, row: dict[str, Any], name: str, n_chars: int) -> str:
        if not self._has(row, name):
            return ""
        tag = self._get_text(row, name).strip()
        if len(tag) > n_chars or not tag.isprintable():
            raise RowRefused(
                _("%(column)s must be a %(name)s of at most %(n_chars)s plain characters"),
                column=self.columns[name],
                name=name,
                n_chars=n_chars,
            )
        return tag

    def _has(self, row: dict[str, Any], name: str) -> bool:
        return name in self.columns and row.get(self.columns[name]) not in (None, "")

    def _get(self, row: dict[str, Any], name: str) -> Any:
        column = self.columns[name]
        if row.get(column) is None:
            raise RowRefused(_("the row lacks %(column)s"), column=column)
        if not isinstance(row[column], (str, list)):
            return str(row[column]) if isinstance(row[column], (int, float)) else self._get_text(row, name)
        return row[column]

    def _get_text(self, row: dict[str, Any], name: str) -> str:
        value = row[self.columns[name]]
        if not isinstance(value, str):
            raise RowRefused(
                _("%(column)s must be a string, got %(kind)s"), column=self.columns[name], kind=type(value).__name__
            )
        return value


def guess_columns(columns: list[str]) -> dict[str, str]:
    """Return the fields that can be told from the names of the columns."""
    by_name = {re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_"): column for column in columns}
    guessed: dict[str, str] = {}
    for name in FIELDS:
        for spelled in NAMES[name]:
            if spelled in by_name and by_name[spelled] not in guessed.values():
                guessed[name] = by_name[spelled]
                break
    if ("chosen" in guessed) != ("rejected" in guessed):
        guessed = {name: column for name, column in guessed.items() if name not in ("chosen", "rejected")}
    if "chosen" in guessed:
        guessed.pop("completion", None)
        if "strength" in guessed and guessed["chosen"] not in [by_name.get(name) for name in WINNERS]:
            guessed.setdefault("verdict", guessed["strength"])
    else:
        guessed.pop("verdict", None)
        guessed.pop("strength", None)
    return guessed


def guess_values(found: list[str]) -> dict[str, tuple[str, ...]]:
    """Return what the values of a verdict's column mean, given its first ones; nothing where only a person can know."""
    return {} if found and set(found) <= {"0", "1"} else VALUES
