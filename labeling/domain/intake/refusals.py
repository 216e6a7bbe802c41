"""What an import refuses: a row, or the file as a whole; in English where it is found, in her language where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from labeling.domain.errors import InvalidContent, LabelingError

MAX_REASONS = 3  # of one row: whoever mends the first sees the others in the next report
Said = list[Any]  # a message as catalogues know it, and its words: texts, numbers, and what was said in their place


class Reason(str):
    """What is wrong, in English. said: the same as JSON, to be told in any language."""

    said: Said

    def __new__(cls, message: str, /, **words: object) -> Self:
        reason = super().__new__(cls, message % words if words else message)
        reason.said = [message, {name: to_json(word) for name, word in words.items()}]
        return reason

    @classmethod
    def chain(cls, reasons: Sequence[Self]) -> Reason:
        """Return several reasons as one: each once, the first of them in full."""
        different = list({str(reason): reason for reason in reasons}.values())
        n_more = len(different) - MAX_REASONS
        chained: Reason = cls(_("and %(n)s more"), n=n_more) if n_more > 0 else different.pop()
        for reason in reversed(different[:MAX_REASONS]):
            chained = cls(_("%(first)s; %(others)s"), first=reason, others=chained)
        return chained


class RowRefused(InvalidContent):
    """A row is not what its format says; the message says what is wrong with it."""

    def __init__(self, message: str, /, **words: object) -> None:
        self.reason = Reason(message, **words)
        super().__init__(self.reason)


class FileRefused(LabelingError):
    """A file cannot be read, or holds what may not be imported; nothing of it was."""

    def __init__(self, message: str, /, **words: object) -> None:
        self.words = words
        self.reason = Reason(message, **words)
        super().__init__(self.reason)

    def name_file(self, path: str, name: str) -> FileRefused:
        """Return the same of a file by the name it came under."""
        words = {key: name if str(word) == path else word for key, word in self.words.items()}
        return FileRefused(self.reason.said[0], **words)


class FormatUnknown(FileRefused):
    """No known format has these columns; a mapping may say what they are."""

    def __init__(self, message: str, columns: dict[str, list[Any]]) -> None:
        super().__init__(message)
        self.columns = columns


def to_json(word: object) -> object:
    said = word.said if isinstance(word, Reason) else getattr(getattr(word, "reason", None), "said", None)
    return {"said": said} if said else word if isinstance(word, int) else str(word)


def tell(said: Said) -> str:
    """Return what was said, in the language of now; however deep it is nested, for a report is data."""
    waiting, outermost_first = [said], []
    while waiting:
        outermost_first.append(waiting.pop())
        waiting += [word["said"] for word in outermost_first[-1][1].values() if isinstance(word, dict)]
    told: dict[int, str] = {}
    for each in reversed(outermost_first):
        message, words = each
        known = {key: told[id(word["said"])] if isinstance(word, dict) else word for key, word in words.items()}
        told[id(each)] = gettext(message) % known if known else gettext(message)
    return told[id(said)]
