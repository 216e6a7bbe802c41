"""What can go wrong while people judge; every message says what to do."""

from __future__ import annotations


class LabelingError(Exception):
    """A labeling rule was broken; the message is for the person who met it."""


class InvalidContent(LabelingError):
    """A prompt, completion or note the house cannot keep byte for byte on every database."""


class IdenticalCompletions(LabelingError):
    """Two completions of a comparison are the same text, so there is nothing to compare."""


class NotAMember(LabelingError):
    """The user is no active member of the project."""


class ClaimLost(LabelingError):
    """The claim is not, or no longer, this labeler's."""


class AlreadyJudged(LabelingError):
    """The labeler has judged this comparison; a change of mind is a revision."""


class AlreadyRevised(LabelingError):
    """The judgment is not the labeler's last word on its comparison."""


class InvalidJudgment(LabelingError):
    """The vote says something that cannot be."""


class IdempotencyConflict(LabelingError):
    """The key belongs to someone else's judgment, or to one of another comparison."""


class AlreadyFrozen(LabelingError):
    """The judgment went into a dataset, which never changes."""


class AlreadyGraded(LabelingError):
    """The judgment belongs to an exam whose result is known."""


class TooManyActs(LabelingError):
    """The labeler acts faster than anyone can read; wait_s: after so many seconds the next is taken."""

    def __init__(self, message: str, *, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class InvalidGold(LabelingError):
    """A right answer that cannot be one."""


class InvalidReview(LabelingError):
    """A reviewer's decision that cannot be one."""


class StaleReview(LabelingError):
    """The comparison changed since the reviewer looked."""


class OwnWork(LabelingError):
    """Nobody reviews what she judged or wrote herself."""
