"""A comparison as one labeler sees it: left and right, and nothing of who wrote what."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.safestring import SafeString

from labeling.domain.invisibles import has_invisible
from labeling.domain.rendering import HTML_CHARS, is_cut, is_plain, render_markdown, render_raw
from labeling.models import Comparison

FOLDED_LINES = 40  # earlier turns that take more than this start folded
BOXED_LINES = 400  # a text that takes more than this scrolls in a box of its own until it is wanted whole
LINE_CHARS = 90


@dataclass(frozen=True)
class ShownText:
    """Text of a prompt or completion, with what a page must know to show it honestly."""

    text: str
    is_withheld: bool = False  # the page has no room for it: it is linked, and not shown

    @property
    def html(self) -> SafeString:
        return SafeString("") if self.is_withheld else render_markdown(self.text)

    @property
    def raw_html(self) -> SafeString | None:
        """The text as written; None where it is shown so already."""
        return None if self.is_withheld or self.is_plain else render_raw(self.text)

    @property
    def is_plain(self) -> bool:
        """Too long to be read as Markdown."""
        return is_plain(self.text)

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    @property
    def is_cut(self) -> bool:
        return self.is_withheld or is_cut(self.text)

    @property
    def is_boxed(self) -> bool:
        return self.n_lines > BOXED_LINES

    @property
    def has_invisible(self) -> bool:
        return has_invisible(self.text)

    @property
    def n_lines(self) -> int:
        """Lines it takes on the page, roughly."""
        return sum(1 + len(line) // LINE_CHARS for line in self.text.splitlines())

    @property
    def n_html(self) -> int:
        return len(self.html) + len(self.raw_html or "")


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
        return sum(message.body.n_lines for message in self.earlier) > FOLDED_LINES


def show_pair(comparison: Comparison, *, a_shown_left: bool) -> ShownPair:
    """Return the comparison as it is shown with A on that side."""
    *earlier, last = show_messages(comparison.prompt.messages)
    a, b = ShownText(comparison.completion_a.text), ShownText(comparison.completion_b.text)
    left, right = (a, b) if a_shown_left else (b, a)
    return ShownPair(earlier=earlier, last=last, left=left, right=right)


def show_messages(messages: list[dict[str, str]]) -> list[ShownMessage]:
    """Return a conversation; of one that would flood the page, the last turns whole and the first ones linked."""
    shown: list[ShownMessage] = []
    room = 2 * HTML_CHARS
    for row in reversed(messages):
        body = ShownText(row["content"])
        room -= body.n_html
        shown.append(
            ShownMessage(row["role"], body if room > 0 or not shown else ShownText(body.text, is_withheld=True))
        )
    return shown[::-1]
