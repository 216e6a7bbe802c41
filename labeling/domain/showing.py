"""A comparison as one labeler sees it: left and right, and nothing of who wrote what."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.safestring import SafeString

from labeling.domain.rendering import has_invisible, is_cut, render_markdown
from labeling.models import Comparison

LONG_LINES = 40
LINE_CHARS = 90


@dataclass(frozen=True)
class ShownText:
    """Text of a prompt or completion, with what a page must know to show it honestly."""

    text: str

    @property
    def html(self) -> SafeString:
        return render_markdown(self.text)

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    @property
    def is_cut(self) -> bool:
        return is_cut(self.text)

    @property
    def has_invisible(self) -> bool:
        return has_invisible(self.text)

    @property
    def n_lines(self) -> int:
        """Lines it takes on the page, roughly."""
        return sum(1 + len(line) // LINE_CHARS for line in self.text.splitlines())


@dataclass(frozen=True)
class ShownMessage:
    role: str
    body: ShownText


@dataclass(frozen=True)
class ShownPair:
    """The conversation and its two completions by side; "A" on the page is the left one."""

    earlier: list[ShownMessage]
    last: ShownMessage
    left: ShownText
    right: ShownText

    @property
    def hides_earlier(self) -> bool:
        """Long earlier turns start folded, so that the question stays in sight."""
        return sum(message.body.n_lines for message in self.earlier) > LONG_LINES


def show_pair(comparison: Comparison, *, a_shown_left: bool) -> ShownPair:
    """Return the comparison as it is shown with A on that side."""
    messages = [ShownMessage(row["role"], ShownText(row["content"])) for row in comparison.prompt.messages]
    a, b = ShownText(comparison.completion_a.text), ShownText(comparison.completion_b.text)
    left, right = (a, b) if a_shown_left else (b, a)
    return ShownPair(earlier=messages[:-1], last=messages[-1], left=left, right=right)
