"""What a manager sends with a new version of the guideline."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from labeling.models import Guideline


class GuidelineForm(forms.Form):
    """A text, and what becomes of what was judged under earlier ones; seen is the version it was written from."""

    seen = forms.IntegerField(min_value=0, required=False, widget=forms.HiddenInput)
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 18}),
        label=_("Text"),
        max_length=200_000,
        strip=False,
        help_text=_("Markdown. Publishing makes a new version; the old ones stay, and judgments name theirs."),
    )
    is_breaking = forms.BooleanField(
        required=False,
        label=_("Breaking: judgments under earlier versions answer another question"),
        help_text=_("Datasets can leave those judgments out."),
    )
    requeues = forms.BooleanField(
        required=False,
        label=_("Queue anew what was judged under earlier versions"),
        help_text=_("Each open comparison gets new places for other labelers; the old judgments stay."),
    )

    def clean_text(self) -> str:
        # Browsers send CRLF; what differs only in that is no new version.
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        if not text.strip():
            raise forms.ValidationError(_("Write what makes a completion better."))
        return text

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("requeues") and not cleaned.get("is_breaking"):
            self.add_error(
                "requeues", _("Only a breaking change asks for new judgments: tick it, too, or untick this.")
            )
        return cleaned

    def is_stale(self, last: Guideline | None) -> bool:
        """Say on the form that another version was published since she began to write; True if so."""
        seen = self.cleaned_data.get("seen")
        if seen is None or last is None or last.version == seen:
            return False
        words = {"version": last.version, "seen": seen}
        self.add_error(
            "text",
            _("Version %(version)s was published while you wrote from version %(seen)s: compare, and publish again.")
            % words,
        )
        self.data = self.data.copy()
        self.data["seen"] = str(last.version)
        return True
