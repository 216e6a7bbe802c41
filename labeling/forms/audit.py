"""What a manager looks for in the audit trail."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from labeling.models import User

VERBS = [
    ("", _("everything")), ("project.", _("settings")), ("guideline.", _("guideline")), ("member.", _("members")),
    ("comparison.", _("comparisons")), ("prompt.", _("prompts")), ("gold.", _("gold")), ("import.", _("imports")),
    ("export.", _("exports")), ("skip.", _("skips")), ("view.", _("saved views")),
]  # fmt: skip


class TrailForm(forms.Form):
    """A search in the query string."""

    kind = forms.ChoiceField(choices=VERBS, required=False, label=_("Of"))
    verb = forms.CharField(
        required=False,
        max_length=48,
        label=_("Verb"),
        validators=[RegexValidator(r"^[a-z_.]+$", _("For example member.pause."))],
        widget=forms.TextInput({"placeholder": "member.pause"}),
    )
    actor = forms.CharField(
        required=False, max_length=150, label=_("By"), widget=forms.TextInput({"placeholder": _("user name")})
    )
    subject = forms.CharField(required=False, max_length=200, label=_("Done to"))
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    def clean_actor(self) -> User | None:
        name = self.cleaned_data["actor"]
        user = User.objects.filter(username=name).first() if name else None
        if name and user is None:
            raise forms.ValidationError(_("Nobody has the name “%s”.") % name)
        return user

    def to_search(self) -> dict[str, Any]:
        """Return what read_trail is asked; call is_valid first."""
        said = self.cleaned_data
        verb = said["verb"] or said["kind"]
        return {"verb": verb, "actor": said["actor"], "subject": said["subject"], "before": said["before"]}
