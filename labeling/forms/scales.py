"""The scales in words: what stands on each step, how it is called where there is little room, and what it means."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from labeling.models.scales import FORCED, WIDEST, Scale, list_strengths


class Words(NamedTuple):
    """One step of a scale, A being left. short: where all of them have to stand in one row of a phone."""

    value: int
    label: Any
    short: str
    meaning: Any


SEVEN = (
    Words(-3, _("A is much better"), "A+++", _("Nobody would want B once they have seen A.")),
    Words(-2, _("A is better"), "A++", _("A is clearly better, though B has its merits.")),
    Words(-1, _("A is slightly better"), "A+", _("A is better by a detail or a matter of taste.")),
    Words(0, _("About the same"), "=", _("You could not say which one to send.")),
    Words(1, _("B is slightly better"), "B+", _("B is better by a detail or a matter of taste.")),
    Words(2, _("B is better"), "B++", _("B is clearly better, though A has its merits.")),
    Words(3, _("B is much better"), "B+++", _("Nobody would want A once they have seen B.")),
)
# The words of Llama 2, arXiv 2307.09288, section 3.1.
FORCED_STEPS = (
    Words(-4, _("A is significantly better"), "A+++", _("Nobody would want B once they have seen A.")),
    Words(-3, _("A is better"), "A++", _("A is clearly better, though B has its merits.")),
    Words(-2, _("A is slightly better"), "A+", _("A is better by a detail or a matter of taste.")),
    Words(
        -1, _("A is negligibly better, or unsure"), "A?", _("You could hardly say why, but if you had to choose: A.")
    ),
    Words(1, _("B is negligibly better, or unsure"), "B?", _("You could hardly say why, but if you had to choose: B.")),
    Words(2, _("B is slightly better"), "B+", _("B is better by a detail or a matter of taste.")),
    Words(3, _("B is better"), "B++", _("B is clearly better, though A has its merits.")),
    Words(4, _("B is significantly better"), "B+++", _("Nobody would want A once they have seen B.")),
)
# Anthropic's eight points have words at their ends only: arXiv 2204.05862, section 2.
EIGHT_STEPS = tuple(
    Words(
        value,
        format_lazy(_("A better, {n} of 4") if value < 0 else _("B better, {n} of 4"), n=abs(value)),
        f"{'A' if value < 0 else 'B'}{abs(value)}",
        _("4 is as much better as can be, 1 is hardly better at all."),
    )
    for value in list_strengths(Scale.EIGHT)
)
STEPS: dict[str, tuple[Words, ...]] = {
    Scale.SEVEN: SEVEN,
    Scale.QUICK: SEVEN,
    Scale.FORCED: FORCED_STEPS,
    Scale.EIGHT: EIGHT_STEPS,
}
# What stands over the steps where they have room for their short names only: the ends and the middle, or what all mean.
LEGENDS: dict[str, tuple[Any, ...]] = {
    Scale.SEVEN: (SEVEN[0].label, SEVEN[3].label, SEVEN[-1].label),
    Scale.QUICK: (),
    Scale.FORCED: (FORCED_STEPS[0].label, _("Negligibly better, or unsure"), FORCED_STEPS[-1].label),
    Scale.EIGHT: (EIGHT_STEPS[0].meaning,),
}
SEVEN_CHOICES = [(step.value, step.label) for step in SEVEN]
ALL_CHOICES = [(value, str(value)) for value in range(-WIDEST, WIDEST + 1)]
# A labeler may change between these two for herself; where a project forces a choice, nobody may say tie.
FREE = (Scale.QUICK, Scale.SEVEN)


def name_strength(strength: int, scale: str = Scale.SEVEN) -> str:
    """Return what was said in the words of the scale it was said on."""
    return next(str(step.label) for step in STEPS[scale] if step.value == strength)


def is_forced(scale: str) -> bool:
    return scale in FORCED
