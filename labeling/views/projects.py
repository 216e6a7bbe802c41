"""Projects: the list, a new one, one of them, and its settings."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.domain.bulk import Change, change_all, find_queued, plan_overlap
from labeling.domain.days import draw_days
from labeling.domain.judging import current_guideline
from labeling.domain.people import add_member
from labeling.domain.progress import measure_progress, measure_progresses
from labeling.domain.projects import (
    StaleEdit,
    close_project,
    count_exam,
    create_project,
    edit_project,
    load_figures,
    name_settings,
    reopen_project,
)
from labeling.domain.showing import ShownText
from labeling.forms.projects import NewProjectForm, OverlapForm, SettingsForm, StateForm
from labeling.models import Membership, Project
from labeling.permissions import get_managed_project, get_project, is_manager, login_required, may_manage


@login_required
@require_safe
def list_projects(request: HttpRequest) -> HttpResponse:
    projects = list(Project.objects.visible_to(request.user).order_by("is_archived", "name", "id"))
    progresses = measure_progresses(projects, request.user)
    context = {
        "rows": [(project, progresses[project.pk]) for project in projects],
        "may_create": is_manager(request.user),
    }
    return render(request, "labeling/project_list.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    if not is_manager(request.user):
        raise PermissionDenied(_("Only managers make projects: ask one of them."))
    form = NewProjectForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        project = create_project(request.user, guideline=form.cleaned_data["guideline"], **form.settings)
        messages.success(request, _("%s is ready for its first comparisons.") % project)
        warn_of_exam(request, project)
        return redirect("labeling:project-detail", project.slug)
    return render(request, "labeling/project_edit.html", {"form": form}, status=422 if form.errors else 200)


@login_required
@require_safe
def show_project(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(request.user, slug)
    guideline = current_guideline(project)
    context: dict[str, Any] = {
        "project": project,
        "guideline": guideline,
        "guideline_text": ShownText(guideline.text) if guideline else None,
        "progress": measure_progress(project, request.user),
        "may_manage": may_manage(request.user, project),
    }
    if context["may_manage"]:
        figures = load_figures(project)
        columns = draw_days(figures.days, timezone.localdate())
        context |= {"counts": figures.counts, "columns": columns, "n_days": sum(figures.days.values())}
    return render(request, "labeling/project_detail.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    if request.method == "POST":
        return store_settings(request, project)
    return show_settings(request, project, SettingsForm(instance=project))


def store_settings(request: HttpRequest, project: Project) -> HttpResponse:
    """Store the settings; where the overlap changed, ask what becomes of the comparisons already there."""
    overlap = project.overlap
    form = SettingsForm(request.POST, instance=Project.objects.get(pk=project.pk))
    if not form.is_valid():
        return show_settings(request, project, form, status=422)
    try:
        edited = edit_project(project, request.user, form.settings, seen=request.POST.get("seen", ""))
    except StaleEdit as error:
        form.add_error(None, str(error))
        return show_settings(request, project, form, status=409)
    messages.success(request, _("The settings are stored."))
    warn_of_exam(request, edited)
    if edited.overlap != overlap and plan_overlap(edited, edited.overlap).n_comparisons:
        return redirect("labeling:overlap-apply", project.slug)
    return redirect("labeling:project-edit", project.slug)


def show_settings(request: HttpRequest, project: Project, form: SettingsForm, *, status: int = 200) -> HttpResponse:
    context = {"project": project, "form": form, "seen": name_settings(project)}
    return render(request, "labeling/project_edit.html", context, status=status)


def warn_of_exam(request: HttpRequest, project: Project) -> None:
    """Say so where labelers would wait before an exam that has too few questions."""
    n = count_exam(project)
    if project.exam_size > n:
        words = {"n": n, "size": project.exam_size}
        messages.warning(
            request,
            _("The exam asks for %(size)d questions and there are %(n)d: make gold for exams before labelers come.")
            % words,
        )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def apply_overlap(request: HttpRequest, slug: str) -> HttpResponse:
    """Have the project's overlap hold for the comparisons already there, too; many take more than one trip."""
    project = get_managed_project(request.user, slug)
    if request.method != "POST":
        context = {"project": project, "plan": plan_overlap(project, project.overlap)}
        return render(request, "labeling/overlap_edit.html", context)
    form = OverlapForm(request.POST)
    if not form.is_valid() or form.cleaned_data["overlap"] != project.overlap:
        messages.warning(request, _("The overlap was changed meanwhile: look at what it would do now."))
        return redirect("labeling:overlap-apply", project.slug)
    change = Change(act="overlap", value=project.overlap)
    progress = change_all(project, find_queued(project), change, actor=request.user, after=form.to_place())
    n = progress.n_changed + (form.cleaned_data["n_changed"] or 0)
    if progress.after:
        return render(request, "labeling/overlap_edit.html", {"project": project, "after": progress.after, "n": n})
    words = ngettext("%d comparison has the new overlap.", "%d comparisons have the new overlap.", n)
    messages.success(request, words % n)
    return redirect("labeling:project-edit", project.slug)


@login_required
@require_POST
def change_state(request: HttpRequest, slug: str) -> HttpResponse:
    """Close or reopen a project."""
    project = get_managed_project(request.user, slug)
    form = StateForm(request.POST)
    if form.is_valid() and form.cleaned_data["act"] == "archive" and close_project(project, request.user):
        messages.success(
            request, _("%s is closed: nothing is handed out any more, and all that was judged stays.") % project
        )
    elif form.is_valid() and form.cleaned_data["act"] == "reopen" and reopen_project(project, request.user):
        messages.success(request, _("%s is open again.") % project)
    return redirect("labeling:project-edit", project.slug)


@login_required
@require_POST
def join_project(request: HttpRequest, slug: str) -> HttpResponse:
    """A superuser sees every project but judges only where she is a member."""
    project = get_project(request.user, slug)
    if not request.user.is_superuser:
        raise PermissionDenied(_("Ask the project's manager to be added."))
    add_member(project, request.user, role=Membership.Role.MANAGER, actor=request.user)
    return redirect("labeling:judge", project.slug)
