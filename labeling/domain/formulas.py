"""LaTeX in a text becomes MathML, or stays as it is written where it cannot be read."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from latex2mathml import exceptions as latex_errors
from latex2mathml.converter import convert
from markdown_it.rules_inline import StateInline

MATH_CHARS = 2_000
LATEX_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(latex_errors).values() if isinstance(error, type) and issubclass(error, Exception)),
    # Malformed input also runs into these inside latex2mathml.
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    TypeError,
    RecursionError,
)

# In text mode latex2mathml copies markup as it stands; nh3 would drop it and hide from the labeler what is there.
MARKUP_IN_MATH = re.compile(r"\\(?:href|text\w*|mbox|hbox|mathrm)\b[^$]*<|\\href\b")
BRACKETS = {"\\(": ("\\)", "math_inline"), "\\[": ("\\]", "math_inline_double")}
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?|alignedat|split|gathered)\}")
ALIGNED_AS_ARRAY = {"begin": r"\begin{array}{rlrlrl}", "end": r"\end{array}"}


def render_formula(source: str, options: dict[str, Any]) -> str:
    """Return MathML for LaTeX, or the LaTeX itself where it cannot be read."""
    if len(source) > MATH_CHARS or MARKUP_IN_MATH.search(source):
        return f"<code>{escape(source)}</code>"
    drawable = ALIGNED.sub(lambda match: ALIGNED_AS_ARRAY[match.group(1)], source)
    try:
        return str(convert(drawable, display="block" if options["display_mode"] else "inline"))
    except LATEX_ERRORS:
        return f"<code>{escape(source)}</code>"


def read_bracketed_formula(state: StateInline, silent: bool) -> bool:
    r"""Take \( x \) and \[ x \], which models write as often as dollars."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in BRACKETS:
        return False
    closing, name = BRACKETS[opening]
    end = state.src.find(closing, state.pos + 2)
    if end <= state.pos + 2:
        return False
    if not silent:
        token = state.push(name, "math", 0)
        token.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True
