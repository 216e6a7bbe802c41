"""The part of a long text that is being read: what is behind is forgotten, and what is ahead comes when it is needed."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from django.utils.translation import gettext_noop as _

from labeling.domain.intake.refusals import FileRefused

SPACE = re.compile(r"[ \t\n\r]*")
BLOCK_CHARS = 2**16


class Window:
    """Text from position `at` on; n_lines and n_columns are what lies before text[0].

    feed returns the next bytes of the file, about as many as it is asked for, and none at the end.
    """

    def __init__(self, feed: Callable[[int], bytes]) -> None:
        self.text = ""
        self.at = 0
        self.n_lines = 0
        self.n_columns = 0
        self._feed = feed
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._n_fed_lines = 0

    @property
    def line(self) -> int:
        """The line of the text at which we are, counted from 1."""
        return self.n_lines + self.text.count("\n", 0, self.at) + 1

    def find_next(self) -> str:
        """Go to the next character that is no space and return it; "" is the end."""
        while True:
            match = SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.read_on():
                return ""

    def read_on(self) -> bool:
        """Forget what is behind, and read as much again as is ahead; False at the end. Raises: FileRefused."""
        behind = self.text[: self.at]
        self.n_lines += behind.count("\n")
        self.n_columns = len(behind) - behind.rfind("\n") - 1 + ("\n" not in behind) * self.n_columns
        self.text, self.at = self.text[self.at :], 0
        more = ""
        while not more:  # a few bytes may be less than a character
            block = self._feed(max(BLOCK_CHARS, len(self.text)))
            more = self._decode(block)
            if not block:
                break
        self.text += more
        return more != ""

    def _decode(self, block: bytes) -> str:
        try:
            more = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = self._n_fed_lines + error.object.count(b"\n", 0, error.start) + 1
            raise FileRefused(_("not UTF-8 on line %(line)s: save the file as UTF-8"), line=line) from error
        self._n_fed_lines += block.count(b"\n")
        return more
