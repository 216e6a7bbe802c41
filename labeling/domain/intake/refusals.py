"""What an import refuses: a row, or the file as a whole."""

from __future__ import annotations

from labeling.domain.errors import InvalidContent, LabelingError


class RowRefused(InvalidContent):
    """A row is not what its format says; the message says what is wrong with it."""


class FileRefused(LabelingError):
    """A file cannot be read, or holds what may not be imported; nothing of it was."""


class FormatUnknown(FileRefused):
    """No known format has these columns; a mapping may say what they are."""

    def __init__(self, message: str, columns: dict[str, list[str]]) -> None:
        super().__init__(message)
        self.columns = columns
