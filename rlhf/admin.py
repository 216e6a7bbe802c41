"""The learning tables in the administration, to look at: their rows are written by the domain alone."""

from __future__ import annotations

from django.contrib import admin

from labeling.admin import ReadOnlyAdmin
from rlhf.models import Checkpoint, Dataset, DatasetSource, Export, Loop, Metric, Round, Run, Sample


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    list_display = ["name", "project", "kind", "n_train", "n_test", "sha256", "created_at"]
    list_filter = ["kind", "project"]
    list_select_related = ["project"]


@admin.register(DatasetSource)
class DatasetSourceAdmin(ReadOnlyAdmin):
    list_display = ["dataset", "split", "line", "comparison_id", "judgment_id", "imported_judgment_id"]
    list_filter = ["split"]
    list_select_related = ["dataset"]
    raw_id_fields = ["comparison", "judgment", "imported_judgment"]


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "project",
        "dataset",
        "format",
        "state",
        "n_rows",
        "size",
        "cause",
        "created_at",
        "expires_at",
    ]
    list_filter = ["state", "format", "project"]
    list_select_related = ["project", "dataset"]


@admin.register(Loop)
class LoopAdmin(ReadOnlyAdmin):
    list_display = ["project", "threshold", "n_pairs"]
    list_select_related = ["project"]


@admin.register(Round)
class RoundAdmin(ReadOnlyAdmin):
    list_display = ["project", "number", "state", "n_queued", "cause", "created_at", "finished_at"]
    list_filter = ["state", "project"]
    list_select_related = ["project"]


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ["id", "project", "kind", "state", "attempt", "stage", "cause", "created_at", "finished_at"]
    list_filter = ["kind", "state", "project"]
    list_select_related = ["project"]


@admin.register(Metric)
class MetricAdmin(ReadOnlyAdmin):
    list_display = ["run_id", "step", "values"]


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ["name", "project", "kind", "parent", "path", "manifest_sha256", "created_at"]
    list_filter = ["kind", "project"]
    list_select_related = ["project", "parent"]


@admin.register(Sample)
class SampleAdmin(ReadOnlyAdmin):
    list_display = ["id", "checkpoint", "prompt_id", "index", "n_tokens", "finished", "text"]
    list_select_related = ["checkpoint"]
    raw_id_fields = ["prompt", "completion"]
