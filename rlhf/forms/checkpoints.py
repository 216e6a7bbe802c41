"""A model of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import forms
from django.db.models import QuerySet

from labeling.models import Project
from rlhf.models import Checkpoint


class CheckpointForm(forms.Form):
    """A model folder on the server that becomes a checkpoint."""

    project = forms.ModelChoiceField(Project.objects.none(), to_field_name="slug", empty_label=None)
    folder = forms.CharField(
        label="Folder on the server",
        help_text="Absolute path of a Hugging Face model: config.json, a tokenizer, .safetensors. It is copied.",
    )
    name = forms.CharField(max_length=100, help_text="Letters, digits, dot, dash and underscore.")
    kind = forms.ChoiceField(choices=Checkpoint.Kind.choices)

    def __init__(self, *args: Any, projects: QuerySet[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]

    def clean_folder(self) -> Path:
        folder = Path(self.cleaned_data["folder"])
        if not folder.is_absolute() or not folder.is_dir():
            raise forms.ValidationError(f"{folder} is not a folder on the server: give its absolute path")
        return folder
