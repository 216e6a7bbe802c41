"""Whether a judgment came sooner than anyone could have read it, by the server's own clock."""

from __future__ import annotations

from collections.abc import Iterable

WORDS_PER_MINUTE = 240  # silent reading of English prose by adults
SHARE = 0.15  # sooner than this share of the reading time nobody has even skimmed it
FLOOR_S = 0.8
CHARS_PER_WORD = 8  # for code and for scripts without spaces, where splitting finds one word
COUNTED_CHARS = 100_000  # of a longer text the page shows only the beginning


def is_hasty(n_words: int, elapsed_s: float) -> bool:
    """Say whether a vote on so many words came too soon; a flag for managers to weigh, and never a refusal."""
    return elapsed_s < max(FLOOR_S, SHARE * 60 * n_words / WORDS_PER_MINUTE)


def count_words(texts: Iterable[str]) -> int:
    """Return how many words there are to read, roughly."""
    shown = [text[:COUNTED_CHARS] for text in texts]
    return sum(max(len(text.split()), len(text) // CHARS_PER_WORD) for text in shown)
