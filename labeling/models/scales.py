"""The scales on which labelers judge, as numbers: which strengths a scale has, and how those of different scales compare.

A strength is kept as it was said, with its scale: negative for A, positive for B. Two scales have a middle, 0; the two
forced ones have none, and four steps on either side of where it would be.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Scale(models.TextChoices):
    SEVEN = "seven", _("seven steps, much better to much better")
    QUICK = "quick", _("one key: A, B, tie, both bad")
    FORCED = "forced", _("eight steps, no tie: significantly better to negligibly better or unsure")
    EIGHT = "eight", _("eight numbered steps, no tie")


FORCED = (Scale.FORCED, Scale.EIGHT)  # one side has to be named
MOST = {Scale.SEVEN: 3, Scale.QUICK: 3, Scale.FORCED: 4, Scale.EIGHT: 4}
WIDEST = max(MOST.values())

# How strongly a step prefers its side, 0 .. 1, from the middle outwards. The even ones lie as far apart as they are
# drawn; "negligibly better, or unsure" is no preference to speak of: Llama 2 (arXiv 2307.09288, table 27) and TRL give
# its four words 1, 2/3, 1/3 and 0.
MARGINS = {
    Scale.SEVEN: (0.0, 1 / 3, 2 / 3, 1.0),
    Scale.QUICK: (0.0, 1 / 3, 2 / 3, 1.0),
    Scale.FORCED: (0.0, 0.0, 1 / 3, 2 / 3, 1.0),
    Scale.EIGHT: (0.0, 1 / 7, 3 / 7, 5 / 7, 1.0),
}


def list_strengths(scale: str) -> list[int]:
    """Return the strengths that can be said on a scale, from A to B."""
    most = MOST[Scale(scale)]
    return [value for value in range(-most, most + 1) if value or scale not in FORCED]


def to_seven(strength: int, scale: str) -> int:
    """Return the step of the seven that is nearest to a strength; the side it names stays the same."""
    if scale not in FORCED or abs(strength) == 1:
        return strength
    return strength - 1 if strength > 0 else strength + 1


def center(strength: int, scale: str) -> float:
    """Return where a strength lies if every step of its scale is one long: the middle ones of a forced scale too."""
    if scale not in FORCED:
        return strength
    return strength - 0.5 if strength > 0 else strength + 0.5
