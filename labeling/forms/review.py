"""What a reviewer sends when she has decided a comparison."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling.forms.judging import CHOICES
from labeling.forms.scales import ALL_CHOICES
from labeling.models import Adjudication, Project

BUTTONS = [act for act in Adjudication.Act.choices if act[0] != Adjudication.Act.OVERRIDE]


class ReviewForm(forms.Form):
    """One button decides: an act, a choice of quick mode, or a step of the scale shown; A always stands left."""

    seen_upto = forms.IntegerField(min_value=0)
    seen_last = forms.IntegerField(min_value=0)
    act = forms.ChoiceField(choices=BUTTONS, required=False)
    choice = forms.ChoiceField(choices=[(name, name) for name in CHOICES], required=False)
    scale = forms.ChoiceField(choices=Project.Scale, required=False)
    strength = forms.TypedChoiceField(choices=ALL_CHOICES, coerce=int, required=False, empty_value=None)
    both_bad = forms.BooleanField(required=False)
    note = forms.CharField(required=False, max_length=10_000, strip=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        said = [cleaned.get("act"), cleaned.get("choice"), cleaned.get("strength")]
        if sum(value not in (None, "") for value in said) != 1:
            raise forms.ValidationError(_("Press one of the buttons: accept, decide otherwise, send back or retire."))
        return cleaned

    def to_decision(self) -> dict[str, Any]:
        """Return what a valid form asks of adjudicate."""
        said = self.cleaned_data
        decision = {"note": said["note"], "seen_upto": said["seen_upto"], "seen_last": said["seen_last"]}
        if said["act"]:
            return decision | {"act": said["act"]}
        # A page from before reviewers decided on the project's scale showed seven steps, and did not say so.
        scale = said["scale"] or Project.Scale.SEVEN
        step = {"strength": said["strength"], "scale": scale, "both_bad": said["both_bad"]}
        if choice := said["choice"]:
            step = {"strength": CHOICES[choice], "scale": Project.Scale.QUICK, "both_bad": choice == "both_bad"}
        return decision | {"act": Adjudication.Act.OVERRIDE} | step
