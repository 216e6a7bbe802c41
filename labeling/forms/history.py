"""What a labeler looks for in her history."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from labeling.domain.history import Search
from labeling.models import Project

KINDS = [("judged", _("Judged")), ("skipped", _("Skipped"))]
VERDICTS = [("", _("any")), ("left", _("A is better")), ("right", _("B is better")), ("tie", _("Tie"))]


class SearchForm(forms.Form):
    """A search in the query string; a bad value of one field leaves that field out."""

    kind = forms.ChoiceField(choices=KINDS, required=False, widget=forms.HiddenInput)
    text = forms.CharField(
        label=_("Words"),
        required=False,
        max_length=200,
        widget=forms.TextInput({"type": "search", "placeholder": _("in prompts, completions and notes")}),
    )
    verdict = forms.ChoiceField(label=_("Verdict"), choices=[*VERDICTS, ("both_bad", _("Both bad"))], required=False)
    reason = forms.ChoiceField(label=_("Reason"), required=False)
    day = forms.DateField(label=_("Day"), required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"))
    is_revised = forms.BooleanField(label=_("Changed only"), required=False)
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].choices = [("", _("any")), *((word, word) for word in project.reasons)]  # type: ignore[attr-defined]
        if not project.reasons:
            del self.fields["reason"]

    @property
    def chosen_kind(self) -> str:
        return self.cleaned_data.get("kind") or "judged"

    def to_search(self) -> Search:
        """Return what is looked for; call is_valid first."""
        names = ("text", "verdict", "reason", "day", "is_revised")
        said = {name: self.cleaned_data[name] for name in names if self.cleaned_data.get(name)}
        return Search(**said)

    def write_query(self, **changes: Any) -> str:
        """Return the query string of the same search with other values; None leaves one out."""
        kept = {name: self[name].value() for name in self.cleaned_data if name != "before"} | changes
        return "?" + urlencode({name: value for name, value in kept.items() if value})
