"""A project's guideline: its versions, what changed between two, and a new one."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.domain.diff import compare_texts
from labeling.domain.errors import InvalidContent
from labeling.domain.overlap import OverlapChange
from labeling.domain.projects import publish_guideline
from labeling.domain.requeueing import requeue
from labeling.domain.showing import ShownText
from labeling.forms.guidelines import GuidelineForm
from labeling.models import Guideline, Project
from labeling.permissions import get_managed_project, get_project, login_required, may_manage

SHOWN = 100  # versions listed; the older ones are found by their number


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def guidelines(request: HttpRequest, slug: str) -> HttpResponse:
    """Everyone in the project may read; managers write."""
    project = get_project(request.user, slug)
    manages = may_manage(request.user, project)
    if request.method != "POST":
        return show_guidelines(request, project, manages=manages)
    if not manages:
        raise PermissionDenied(_("Only the project's managers write its guideline."))
    return create_guideline(request, project)


def create_guideline(request: HttpRequest, project: Project) -> HttpResponse:
    form = GuidelineForm(request.POST)
    if not form.is_valid():
        return show_guidelines(request, project, manages=True, form=form, status=422)
    last = project.guidelines.first()
    if form.is_stale(last):
        return show_guidelines(request, project, manages=True, form=form, status=409)
    facts = {"is_breaking": form.cleaned_data["is_breaking"]}
    try:
        guideline = publish_guideline(project, form.cleaned_data["text"], actor=request.user, **facts)
    except InvalidContent as error:
        form.add_error("text", str(error))
        return show_guidelines(request, project, manages=True, form=form, status=422)
    if last and guideline.pk == last.pk:
        messages.info(request, _("This is what version %s says: nothing was published.") % last.version)
        return redirect("labeling:guideline-list", project.slug)
    messages.success(request, _("Version %s of the guideline holds from now on.") % guideline.version)
    if form.cleaned_data["requeues"]:
        say_requeued(request, requeue(project, before_guideline=guideline, actor=request.user))
    return redirect("labeling:guideline-list", project.slug)


@login_required
@require_safe
def show_guideline(request: HttpRequest, slug: str, version: int) -> HttpResponse:
    project = get_project(request.user, slug)
    guideline = get_object_or_404(Guideline, project=project, version=version)
    context = {
        "project": project,
        "guideline": guideline,
        "text": ShownText(guideline.text),
        "others": list_versions(project),
        "may_manage": may_manage(request.user, project),
    }
    return render(request, "labeling/guideline_detail.html", context)


@login_required
@require_safe
def compare(request: HttpRequest, slug: str, version: int, since: int) -> HttpResponse:
    """Show the words in which a version differs from an earlier one."""
    project = get_project(request.user, slug)
    new = get_object_or_404(Guideline, project=project, version=version)
    old = get_object_or_404(Guideline, project=project, version=since)
    context = {"project": project, "old": old, "new": new, "rows": compare_texts(old.text, new.text)}
    return render(request, "labeling/guideline_compare.html", context)


@login_required
@require_POST
def requeue_older(request: HttpRequest, slug: str, version: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    guideline = get_object_or_404(Guideline, project=project, version=version)
    say_requeued(request, requeue(project, before_guideline=guideline, actor=request.user))
    return redirect("labeling:guideline-list", project.slug)


def say_requeued(request: HttpRequest, change: OverlapChange) -> None:
    words = ngettext("%d comparison is queued anew.", "%d comparisons are queued anew.", change.n_comparisons)
    messages.success(request, words % change.n_comparisons)


def show_guidelines(
    request: HttpRequest,
    project: Project,
    *,
    manages: bool,
    form: GuidelineForm | None = None,
    status: int = 200,
) -> HttpResponse:
    versions = list_versions(project)
    current = project.guidelines.first()
    seen = current.version if current else 0
    context = {
        "project": project,
        "versions": versions,
        "current": current,
        "text": ShownText(current.text) if current else None,
        "may_manage": manages,
        "form": form or GuidelineForm(initial={"text": current.text if current else "", "seen": seen}),
        "seen": seen,
    }
    return render(request, "labeling/guideline_list.html", context, status=status)


def list_versions(project: Project) -> list[tuple[Guideline, int | None]]:
    """Return the versions, newest first, each with the number of the one before it."""
    rows = list(project.guidelines.defer("text")[: SHOWN + 1])
    return list(zip(rows, [*(row.version for row in rows[1:]), None], strict=False))[:SHOWN]
