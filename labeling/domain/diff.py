"""The words in which two texts differ: rows that stand beside each other, and pieces that one side has alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from django.utils.safestring import SafeString

from labeling.domain.rendering import render_stretch

COMPARED_CHARS = 20_000  # of each text; the worst of this length takes a second
MATCHED_WORDS = 4_000  # of a row; longer ones are marked whole
SHORTEST_MATCH = 3  # words: fewer in common, between two differences, is chance and not agreement
WORDS = re.compile(r"\w+[^\w\n]*|\n|[^\w\n]+")


@dataclass(frozen=True)
class Piece:
    """A stretch of one text; is_own when the other has no such words there."""

    text: str
    is_own: bool

    @property
    def html(self) -> SafeString:
        return render_stretch(self.text)


@dataclass(frozen=True)
class Row:
    """What stands side by side."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]


@lru_cache(maxsize=128)
def compare_texts(left: str, right: str) -> tuple[Row, ...] | None:
    """Return the two texts in rows that correspond, or None when they are too long to compare."""
    if max(len(left), len(right)) > COMPARED_CHARS:
        return None
    ours, theirs = left.splitlines(keepends=True), right.splitlines(keepends=True)
    rows = []
    for kind, i, j, k, m in SequenceMatcher(is_blank, strip_all(ours), strip_all(theirs)).get_opcodes():
        here, there = "".join(ours[i:j]), "".join(theirs[k:m])
        if kind == "equal":
            rows.append(Row((Piece(here, is_own=False),), (Piece(there, is_own=False),)))
        else:
            rows.append(compare_row(here, there))
    return tuple(rows)


def is_blank(line: str) -> bool:
    """Tell whether a line says nothing: two such lines in common are no place to start from."""
    return not line


def strip_all(lines: list[str]) -> list[str]:
    """Return the lines without their ends: white space there is no difference."""
    return [line.strip() for line in lines]


def compare_row(left: str, right: str) -> Row:
    """Return one row with the pieces only one side has."""
    ours, theirs = WORDS.findall(left), WORDS.findall(right)
    if not ours or not theirs or max(len(ours), len(theirs)) > MATCHED_WORDS:
        return Row(make_pieces([(left, True)]), make_pieces([(right, True)]))
    matches = SequenceMatcher(None, strip_all(ours), strip_all(theirs)).get_matching_blocks()
    alike = [match for match in matches if match.size >= min(SHORTEST_MATCH, len(ours), len(theirs))]
    return Row(
        cut_pieces(ours, [(match.a, match.a + match.size) for match in alike]),
        cut_pieces(theirs, [(match.b, match.b + match.size) for match in alike]),
    )


def cut_pieces(words: list[str], shared: list[tuple[int, int]]) -> tuple[Piece, ...]:
    """Return the words as pieces, those of the shared stretches not its own."""
    parts, at = [], 0
    for start, end in shared:
        parts += [("".join(words[at:start]), True), ("".join(words[start:end]), False)]
        at = end
    return make_pieces([*parts, ("".join(words[at:]), True)])


def make_pieces(parts: list[tuple[str, bool]]) -> tuple[Piece, ...]:
    return tuple(Piece(text, is_own=is_own and not text.isspace()) for text, is_own in parts if text)
