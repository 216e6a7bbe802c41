"""The learning tables in the administration, to look at: their rows are written by the domain alone."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from rlhf.models import Checkpoint, Dataset, DatasetSource, Loop, Metric, Round, Run, Sample


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that are shown and never touched. Counting millions of rows for a page header is spared."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


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
