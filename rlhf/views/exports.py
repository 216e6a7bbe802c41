"""Exports: what was asked for, one of them until its file is there, and the file."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from labeling.models import Project
from rlhf.domain.exporting import ExportGone, open_export, request_dataset_export, request_judgment_export
from rlhf.forms.exports import DatasetExportForm, JudgmentExportForm
from rlhf.models import Dataset, Export
from rlhf.permissions import manager_required, of_managed_projects

PAGE_SIZE = 25
CONTENT_TYPES = {"zip": "application/zip", "csv": "text/csv; charset=utf-8", "gz": "application/gzip"}


@require_safe
@manager_required
def list_exports(request: HttpRequest) -> HttpResponse:
    return render_list(request)


@require_POST
@manager_required
def create_dataset_export(request: HttpRequest) -> HttpResponse:
    form = DatasetExportForm(request.POST, datasets=list_datasets(request))
    if not form.is_valid():
        return render_list(request, dataset_form=form, status=422)
    asked = form.cleaned_data
    export = request_dataset_export(asked["dataset"], request.user, format=asked["format"], split=asked["split"])
    return redirect(export)


@require_POST
@manager_required
def create_judgment_export(request: HttpRequest) -> HttpResponse:
    form = JudgmentExportForm(request.POST, projects=Project.objects.managed_by(request.user))
    if not form.is_valid():
        return render_list(request, judgment_form=form, status=422)
    asked = form.cleaned_data
    export = request_judgment_export(
        asked["project"], request.user, format=asked["format"], with_notes=asked["with_notes"]
    )
    return redirect(export)


@require_safe
@manager_required
def show_export(request: HttpRequest, pk: int) -> HttpResponse:
    context = {"export": get_export(request, pk)}
    if request.htmx:  # type: ignore[attr-defined]
        status = HTMX_STOP_POLLING if context["export"].is_over else 200
        return render(request, "rlhf/export_detail.html#live", context, status=status)
    return render(request, "rlhf/export_detail.html", context)


@require_safe
@manager_required
def download_export(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Every download leaves a line in the audit trail; what is fetched changes by nothing."""
    export = get_export(request, pk)
    if not export.is_over or export.state == Export.State.FAILED:
        return redirect(export)
    try:
        file = open_export(export, request.user)
    except ExportGone as error:
        context = {"export": export, "refusal": str(error)}
        return render(request, "rlhf/export_detail.html", context, status=410)
    kind = CONTENT_TYPES.get(export.filename.rpartition(".")[2], "application/octet-stream")
    return FileResponse(file, as_attachment=True, filename=export.filename, content_type=kind)


def get_export(request: HttpRequest, pk: int) -> Export:
    exports = Export.objects.select_related("project", "dataset", "created_by")
    return get_object_or_404(of_managed_projects(exports, request.user), pk=pk)  # type: ignore[arg-type]


def list_datasets(request: HttpRequest) -> QuerySet[Dataset]:
    datasets = Dataset.objects.filter(sealed_at__isnull=False).select_related("project")
    return of_managed_projects(datasets, request.user)  # type: ignore[arg-type]


def render_list(
    request: HttpRequest,
    *,
    dataset_form: DatasetExportForm | None = None,
    judgment_form: JudgmentExportForm | None = None,
    status: int = 200,
) -> HttpResponse:
    exports = of_managed_projects(Export.objects.select_related("project", "dataset", "created_by"), request.user)  # type: ignore[arg-type]
    datasets, projects = list_datasets(request), Project.objects.managed_by(request.user)
    context = {
        "page": Paginator(exports, PAGE_SIZE).get_page(request.GET.get("page")),
        "dataset_form": dataset_form or DatasetExportForm(initial=request.GET.dict(), datasets=datasets),
        "judgment_form": judgment_form or JudgmentExportForm(initial=request.GET.dict(), projects=projects),
        "has_datasets": datasets.exists(),
        "has_projects": projects.exists(),
    }
    return render(request, "rlhf/export_list.html", context, status=status)
