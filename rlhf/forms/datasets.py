"""What is frozen, and by which rule."""

from __future__ import annotations

from typing import Any

from django import forms

from labeling.models import Project
from rlhf.domain.datasets.freezing import list_imported_sources
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule


class FreezeForm(forms.Form):
    """What every freeze asks. Limits are hints to the browser; the rule judges its parts."""

    name = forms.CharField(max_length=200, help_text="How people call the dataset.")
    test_share = forms.FloatField(
        initial=0.1,
        min_value=0,
        max_value=0.9,
        widget=forms.NumberInput({"step": "any"}),
        label="Share held out for tests",
        help_text="Whole groups of prompts are held out, so that no prompt is on both sides.",
    )
    seed = forms.IntegerField(initial=42, min_value=0, help_text="Decides which groups are held out.")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project

    def parts(self) -> dict[str, Any]:
        """Return what the freeze is called with."""
        return dict(self.cleaned_data)


class PreferenceFreezeForm(FreezeForm):
    """The rule by which votes become pairs."""

    include = forms.MultipleChoiceField(
        label="Whose judgments",
        widget=forms.CheckboxSelectMultiple,
        help_text="Votes recorded elsewhere keep the name of their source.",
    )
    min_judgments = forms.IntegerField(
        initial=1, min_value=1, label="Judgments a comparison needs", help_text="Comparisons with fewer are left out."
    )
    use_margin = forms.BooleanField(
        required=False,
        label="Write the strength of each preference as its margin",
        help_text="A reward model with a margin_scale learns to keep strong preferences further apart.",
    )
    use_extra = forms.BooleanField(
        required=False,
        initial=True,
        label="Count late votes",
        help_text="Votes that came after their place had gone to someone else.",
    )
    note = forms.CharField(required=False, help_text="Kept with the dataset.")
    field_order = ["name", "include", "min_judgments", "test_share", "seed", "use_margin", "use_extra", "note"]

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, project=project, **kwargs)
        sources = [(f"imported:{source}", f"{source} (imported)") for source in list_imported_sources(project)]
        self.fields["include"].choices = [("own", "our own labelers"), *sources]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Turn the parts into the rule, and say its word beside the part it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        parts = {name: value for name, value in cleaned.items() if name != "name"}
        try:
            cleaned["rule"] = FreezeRule(**{**parts, "include": tuple(parts["include"])})
        except InvalidRule as error:
            name = str(error).split(" ", 1)[0]
            self.add_error(name if name in self.fields else None, str(error))
        return cleaned

    def parts(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("name", "rule")}
