"""A test set that was made elsewhere."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat

from labeling.forms.imports import BoundedUpload
from labeling.models import Project
from rlhf.domain.datasets.test_sets import FORMATS

UPLOAD_BYTES = 64 * 2**20  # it is read while its sender waits; manage.py import_benchmark takes larger ones
UNPACKED_BYTES = (
    4 * UPLOAD_BYTES
)  # rows that repeat themselves pack into a thousandth, and all of them are held in memory


class BenchmarkForm(forms.Form):
    """A file of comparisons and what to call it."""

    project = forms.ModelChoiceField(Project.objects.none(), to_field_name="slug", empty_label=None)
    file = forms.FileField(
        help_text="RewardBench, HHH or HH rows as JSON Lines, a JSON array or Parquet; .gz is unpacked."
    )
    format = forms.ChoiceField(choices=[("auto", "find out"), *((name, name) for name in FORMATS)])
    name = forms.CharField(max_length=200, required=False, help_text="Empty takes the file's.")

    def __init__(self, *args: Any, projects: QuerySet[Project], upload: BoundedUpload | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
        self.upload = upload

    def full_clean(self) -> None:
        """Say that the file is too large, where that is why there is none."""
        super().full_clean()
        if self.is_bound and self.upload is not None and self.upload.is_too_large:
            self.errors.pop("file", None)
            most = filesizeformat(self.upload.n_most)
            self.add_error("file", f"A file may have {most} here: give a larger one to manage.py import_benchmark.")
