"""Projects: the list, one of them, its guideline and its people."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.domain.errors import InvalidContent
from labeling.domain.judging import current_guideline
from labeling.domain.people import add_member
from labeling.domain.progress import measure_progress, measure_progresses
from labeling.domain.projects import count_project, create_project, publish_guideline
from labeling.domain.showing import ShownText
from labeling.forms import GuidelineForm, ProjectForm
from labeling.models import Membership, Project
from labeling.permissions import get_project, is_manager, login_required, may_manage


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def list_projects(request: HttpRequest) -> HttpResponse:
    may_create = is_manager(request.user)
    if request.method == "POST" and not may_create:
        raise PermissionDenied("Only managers make projects.")
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        project = create_project(request.user, **form.cleaned_data)
        messages.success(request, f"{project} is ready for its first comparisons.")
        return redirect("labeling:project-detail", project.slug)
    projects = list(Project.objects.visible_to(request.user))
    progresses = measure_progresses(projects, request.user)
    context = {
        "rows": [(project, progresses[project.pk]) for project in projects],
        "may_create": may_create,
        "form": form,
    }
    return render(request, "labeling/project_list.html", context, status=422 if form.errors else 200)


@login_required
@require_safe
def show_project(request: HttpRequest, slug: str) -> HttpResponse:
    return render_project(request, get_project(request.user, slug))


@login_required
@require_POST
def create_guideline(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(request.user, slug)
    if not may_manage(request.user, project):
        raise PermissionDenied("Only the project's managers write its guideline.")
    form = GuidelineForm(request.POST)
    if not form.is_valid():
        return render_project(request, project, form=form, status=422)
    try:
        guideline = publish_guideline(project, form.cleaned_data["text"])
    except InvalidContent as error:
        form.add_error("text", str(error))
        return render_project(request, project, form=form, status=422)
    messages.success(request, f"Version {guideline.version} of the guideline holds from now on.")
    return redirect("labeling:project-detail", project.slug)


@login_required
@require_POST
def join_project(request: HttpRequest, slug: str) -> HttpResponse:
    """A superuser sees every project but judges only where she is a member."""
    project = get_project(request.user, slug)
    if not request.user.is_superuser:
        raise PermissionDenied("Ask the project's manager to be added.")
    add_member(project, request.user, role=Membership.Role.MANAGER)
    return redirect("labeling:judge", project.slug)


def render_project(
    request: HttpRequest, project: Project, *, form: GuidelineForm | None = None, status: int = 200
) -> HttpResponse:
    guideline = current_guideline(project)
    manages = may_manage(request.user, project)
    context = {
        "project": project,
        "guideline": guideline,
        "guideline_text": ShownText(guideline.text) if guideline else None,
        "progress": measure_progress(project, request.user),
        "counts": count_project(project) if manages else None,
        "may_manage": manages,
        "form": form or GuidelineForm(initial={"text": guideline.text if guideline else ""}),
    }
    return render(request, "labeling/project_detail.html", context, status=status)
