"""Imports: the files of a project, one of them from upload to import, and the rows that are wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from labeling.domain.errors import LabelingError
from labeling.domain.intake.committing import request_commit
from labeling.domain.intake.mapping import Mapping
from labeling.domain.intake.report import translate_report
from labeling.domain.intake.uploading import discard_import, map_columns, store_upload
from labeling.domain.showing import ShownMessage, ShownText
from labeling.forms.imports import BoundedUpload, MappingForm, PlacementForm, UploadForm
from labeling.models import Import, Project
from labeling.permissions import get_managed_project, login_required

PAGE_SIZE = 25
BLOCK_BYTES = 2**16


@require_safe
@login_required
def list_imports(request: HttpRequest, slug: str) -> HttpResponse:
    return render_list(request, get_managed_project(request.user, slug), UploadForm())


# The token is checked by receive_file, once a bound is set: before that nothing may read what is sent.
@csrf_exempt
@login_required
@require_POST
def create_import(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    request.upload_handlers.insert(0, BoundedUpload(request))
    return receive_file(request, project)


@csrf_protect
def receive_file(request: HttpRequest, project: Project) -> HttpResponse:
    upload = request.upload_handlers[0]
    form = UploadForm(request.POST, request.FILES, upload=upload)
    if form.is_valid():
        try:
            return redirect(
                "labeling:import-detail",
                project.slug,
                store_upload(project, request.user, **form.cleaned_data).pk,
            )
        except OSError as error:
            form.add_error(
                "file", _("The file could not be kept (%(error)s): tell who runs this server.") % {"error": error}
            )
    return render_list(request, project, form, status=422)


@require_safe
@login_required
def show_import(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return render_import(request, get_import(request, slug, pk))


@require_POST
@login_required
def create_mapping(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    imported = get_import(request, slug, pk)
    if "columns" not in imported.report:
        raise Http404
    form = MappingForm(request.POST, columns=dict(translate_report(imported.report)["columns"]))
    if not form.is_valid():
        return render_import(request, imported, mapping_form=form, status=422)
    return act(request, imported, lambda: map_columns(imported, form.cleaned_data["mapping"]))


@require_POST
@login_required
def commit_import(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    imported = get_import(request, slug, pk)
    form = PlacementForm(request.POST, project=imported.project, report=imported.report)
    if not form.is_valid():
        return render_import(request, imported, placement_form=form, status=422)
    return act(request, imported, lambda: request_commit(imported, request.user, form.placement()))


@require_POST
@login_required
def discard(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    imported = get_import(request, slug, pk)
    try:
        discard_import(imported, request.user)
    except LabelingError as error:
        return render_import(request, imported, refusal=str(error), status=409)
    messages.success(request, _("%(name)s was thrown away; nothing of it was imported.") % {"name": imported.filename})
    return redirect("labeling:import-list", slug)


@require_safe
@login_required
def download_bad_rows(request: HttpRequest, slug: str, pk: int) -> HttpResponseBase:
    name = get_import(request, slug, pk).report.get("bad_file", "")
    if not name or not default_storage.exists(name):
        raise Http404
    headers = {"Content-Disposition": f'attachment; filename="bad-rows-of-import-{pk}.txt"'}
    return StreamingHttpResponse(read_blocks(name), content_type="text/plain; charset=utf-8", headers=headers)


def get_import(request: HttpRequest, slug: str, pk: int) -> Import:
    project = get_managed_project(request.user, slug)
    return get_object_or_404(Import.objects.select_related("owner", "project"), project=project, pk=pk)


def act(request: HttpRequest, imported: Import, change: Any) -> HttpResponse:
    """Do what was asked and show what came of it, or say why it cannot be."""
    try:
        change()
    except LabelingError as error:
        imported.refresh_from_db()
        return render_import(request, imported, refusal=str(error), status=409)
    return redirect("labeling:import-detail", imported.project.slug, imported.pk)


def read_blocks(name: str) -> Iterator[bytes]:
    with default_storage.open(name) as file:
        yield from file.chunks(BLOCK_BYTES)


def render_list(request: HttpRequest, project: Project, form: UploadForm, *, status: int = 200) -> HttpResponse:
    rows = Import.objects.filter(project=project).select_related("owner")
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    imports = list(rows[: PAGE_SIZE + 1])
    context = {
        "project": project,
        "form": form,
        "imports": imports[:PAGE_SIZE],
        "before": imports[PAGE_SIZE - 1].pk if len(imports) > PAGE_SIZE else None,
        "is_first_page": not before,
    }
    return render(request, "labeling/import_list.html", context, status=status)


def render_import(
    request: HttpRequest,
    imported: Import,
    *,
    mapping_form: MappingForm | None = None,
    placement_form: PlacementForm | None = None,
    refusal: str = "",
    status: int = 200,
) -> HttpResponse:
    report, state = translate_report(imported.report), imported.state
    # A row without a file is the import command's, which says at its terminal how far it is.
    is_busy = bool(imported.file) and state in (Import.State.UPLOADED, Import.State.STAGED)
    is_waiting = state in (Import.State.CHECKED, Import.State.REFUSED)
    context: dict[str, Any] = {
        "project": imported.project,
        "imported": imported,
        "report": report,
        "refusal": refusal,
        "is_busy": is_busy,
        "is_waiting": is_waiting,
        "percent": round(100 * report.get("progress", 0)),
        "notes": sorted(report.get("notes", {}).items()),
        "columns": report.get("columns", []),
        "sample": [show_sample(row) for row in report.get("sample", [])],
        "n_more_bad": report.get("n_bad", 0) - len(report.get("bad", [])),
    }
    if is_waiting and "columns" in report:
        mapping = Mapping.from_json(imported.mapping) if imported.mapping else None
        context["mapping_form"] = mapping_form or MappingForm(columns=dict(report["columns"]), mapping=mapping)
    if state == Import.State.CHECKED and imported.format:
        context["placement_form"] = placement_form or PlacementForm(project=imported.project, report=report)
    if request.htmx:  # type: ignore[attr-defined]
        code = 200 if is_busy else HTMX_STOP_POLLING
        return render(request, "labeling/import_detail.html#live", context, status=code)
    return render(request, "labeling/import_detail.html", context, status=status)


def show_sample(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sampled row with its texts ready to be shown."""
    strength = row.get("strength")
    return {
        "messages": [ShownMessage(message["role"], ShownText(message["content"])) for message in row["prompt"]],
        "texts": [ShownText(text) for text in row.get("texts", [])],
        "is_pair": len(row.get("texts", [])) == 2,
        "strength": strength,
        "both_bad": row.get("both_bad", False),
        "is_unjudged": "strength" in row and strength is None,
    }
