"""What a manager sends to say which answer to a comparison is right."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from labeling.forms.scales import name_strength

# What people mean by a right answer, and the strengths that are right then.
ANSWERS = {
    "a": (-3, -1, _("A is better, by however much")),
    "a_clearly": (-3, -2, _("A is better, and clearly so")),
    "a_or_tie": (-3, 0, _("A is better, or about the same")),
    "tie": (0, 0, _("About the same")),
    "close": (-1, 1, _("About the same, or slightly better either way")),
    "b_or_tie": (0, 3, _("B is better, or about the same")),
    "b_clearly": (2, 3, _("B is better, and clearly so")),
    "b": (1, 3, _("B is better, by however much")),
}


class GoldForm(forms.Form):
    """A comparison and its right answer; A and B are its contents."""

    comparison = forms.IntegerField(min_value=1, widget=forms.HiddenInput)
    answer = forms.ChoiceField(
        choices=[("", _("Choose")), *((name, words) for name, (_low, _high, words) in ANSWERS.items())],
        label=_("Right answer"),
    )
    explanation = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        max_length=10_000,
        label=_("Why"),
        help_text=_("Shown after an exam, never at work."),
    )
    is_exam = forms.BooleanField(
        required=False, label=_("Keep it for exams"), help_text=_("Then it is never slipped into work.")
    )

    def to_facts(self) -> dict[str, Any]:
        """Return what a valid form asks of make_gold."""
        low, high, _words = ANSWERS[self.cleaned_data["answer"]]
        return {
            "strength_min": low,
            "strength_max": high,
            "explanation": self.cleaned_data["explanation"],
            "is_exam": self.cleaned_data["is_exam"],
        }


class PlaceForm(forms.Form):
    """Where in the list the page begins."""

    before = forms.IntegerField(required=False, min_value=1)


def find_answer(low: int, high: int) -> str:
    """Return the name of the answer with this range; an empty text for a range nobody chose here."""
    return next((name for name, (least, greatest, _words) in ANSWERS.items() if (least, greatest) == (low, high)), "")


def name_answer(low: int, high: int) -> str:
    """Return the right answer in words."""
    if name := find_answer(low, high):
        return str(ANSWERS[name][2])
    if low == high:
        return name_strength(low)
    return _now("from “%(low)s” to “%(high)s”") % {"low": name_strength(low), "high": name_strength(high)}


def choose_answer(strength: int) -> str:
    """Return the answer to propose where labelers agree on a strength."""
    return "tie" if strength == 0 else "a" if strength < 0 else "b"
