"""What a constitution says, who judges by it, and what is asked."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from labeling.models import Project
from rlhf.domain.errors import LearningError
from rlhf.domain.feedback.asking import MAX_TURNS
from rlhf.domain.feedback.constitutions import STARTER, find_newest
from rlhf.domain.feedback.report import list_passed
from rlhf.models import Checkpoint


class ConstitutionForm(forms.Form):
    """The next version of a constitution, as JSON."""

    principles = forms.CharField(
        widget=forms.Textarea({"rows": 16, "spellcheck": "false"}),
        help_text="A JSON list; each principle has an id, and a text for critique, revision and comparison.",
    )
    note = forms.CharField(required=False, max_length=500, label="What changed")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        newest = find_newest(project)
        text = json.dumps(newest.principles if newest else STARTER, ensure_ascii=False, indent=2)
        super().__init__(*args, initial={"principles": text}, **kwargs)

    def clean_principles(self) -> list[Any]:
        """Return the list the text holds."""
        try:
            principles = json.loads(self.cleaned_data["principles"])
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(principles, list):
            raise forms.ValidationError("Write a list of principles: [ ... ]")
        return principles


class AnnotatorForm(forms.Form):
    """A model that is to judge."""

    name = forms.CharField(max_length=100)
    checkpoint = forms.ModelChoiceField(
        Checkpoint.objects.none(),
        required=False,
        empty_label="None: an endpoint",
        help_text="A policy of the project, or",
    )
    endpoint = forms.CharField(
        required=False, max_length=200, help_text="an OpenAI-compatible endpoint, up to and with /v1."
    )
    model = forms.CharField(required=False, max_length=200, help_text="What the endpoint calls its model.")
    key_name = forms.CharField(
        required=False,
        max_length=100,
        label="Name of its key",
        help_text="An environment variable of the workers, AI_KEY_…",
    )
    orders = forms.ChoiceField(
        choices=[("both", "both orders, averaged"), ("one", "one order")], label="Ask about a pair in"
    )
    reasoning = forms.ChoiceField(
        choices=[("none", "only which is better"), ("first", "its reasons first")], label="Ask for"
    )
    weight = forms.FloatField(
        initial=0.5,
        min_value=0.01,
        max_value=1,
        widget=forms.NumberInput({"step": "any"}),
        help_text="Of its rows in a dataset that takes them; a person's weigh 1.",
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["checkpoint"].queryset = Checkpoint.objects.policies_of(project)  # type: ignore[attr-defined]

    def parts(self) -> dict[str, Any]:
        """Return what the annotator is added with."""
        asked = dict(self.cleaned_data)
        return asked | {"decoding": {name: asked.pop(name) for name in ("orders", "reasoning")}}

    def refuse(self, error: LearningError | Exception) -> None:
        """Say why there is no annotator, beside the part it is about where the words begin with its name."""
        name = str(error).split(" ", 1)[0]
        self.add_error(name if name in self.fields else None, str(error))


class AskForm(forms.Form):
    """How much an annotator is asked."""

    task = forms.ChoiceField(
        choices=[
            ("judge", "which completion is better"),
            ("exam", "what people have judged, for its exam"),
            ("revise", "to revise what policies wrote"),
        ],
        label="Ask it",
    )
    n = forms.IntegerField(initial=200, min_value=1, max_value=100_000, label="How many at most")
    n_turns = forms.IntegerField(initial=1, min_value=1, max_value=MAX_TURNS, label="Revisions of each")
    route = forms.BooleanField(required=False, initial=True, label="Send what it is unsure of to people at once")


class ReportForm(forms.Form):
    """Whose labels are held against people's."""

    annotators = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label="Labels of")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = list_passed(project)
        self.fields["annotators"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        self.fields["annotators"].initial = names
