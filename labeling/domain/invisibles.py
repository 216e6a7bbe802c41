"""Characters nobody can see, and the marks that stand in their place on a page."""

from __future__ import annotations

import re
import unicodedata
from html import escape

# Marks, not characters: a reader must see that the text hides something. Joiners are letters' business except in ASCII.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
    "|(?<=[\x00-\x7f])[\u200c\u200d]"
    # Variants are chosen of signs and of letters beyond ASCII, one each; of a digit only for its key cap.
    "|(?<=[\x00-\x7f\ufe00-\ufe0f\U000e0100-\U000e01ef])[\ufe00-\ufe0f\U000e0100-\U000e01ef](?!\u20e3)"
)
TAG_OR_INVISIBLE = re.compile(f"<[^>]*>|{INVISIBLE.pattern}")
# As written, spaces that look like none, or like another, are marked too.
UNSEEN = re.compile(f"{INVISIBLE.pattern}|[\u200c\u200d\t\r\u00a0\u2000-\u200a\u202f\u205f\u3000]| +$", re.MULTILINE)
MARK_CHARS = 90  # of HTML that the mark of one character takes, at most


def has_invisible(text: str) -> bool:
    """Tell whether the text holds characters that nobody can see."""
    return INVISIBLE.search(text) is not None


def mark_all(html: str) -> str:
    """Put a visible mark in the place of every invisible character."""
    return TAG_OR_INVISIBLE.sub(mark_invisible, html)


def mark_invisible(match: re.Match[str]) -> str:
    """Put a visible mark in an invisible character's place; leave tags alone."""
    found = match.group()
    if found.startswith("<"):
        return found
    name = unicodedata.name(found, "control character").lower()
    return f'<span class="invisible" title="{escape(name)}">U+{ord(found):04X}</span>'


def mark_unseen(match: re.Match[str]) -> str:
    """Mark a character of the text as written: spaces by a sign, others by their number."""
    found = match.group()
    if found == "\t":
        return '<span class="invisible">⇥</span>\t'
    if found.startswith(" "):
        return f'<span class="invisible">{"·" * len(found)}</span>'
    return mark_invisible(match)
