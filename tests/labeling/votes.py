"""Votes laid on the table at once, without a claim: what pages about labelers count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from labeling.domain.tallying import update_tally
from labeling.models import Comparison, Judgment, User


def say(comparison: Comparison, labeler: User, strength: int, *, seconds: int = 30, **changes: Any) -> Judgment:
    """Store what a labeler said of the contents A and B, as an extra vote, and count it."""
    submitted_at = changes.pop("submitted_at", timezone.now())
    facts = {
        "verdict": "tie" if strength == 0 else "A" if strength < 0 else "B",
        "strength": strength,
        "scale": "seven",
        "a_shown_left": True,
        "is_extra": True,
        "shown_at": submitted_at - timedelta(seconds=seconds),
        "submitted_at": submitted_at,
    }
    judgment = Judgment.objects.create(comparison=comparison, labeler=labeler, **facts | changes)
    update_tally(comparison)
    return judgment
