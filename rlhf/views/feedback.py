"""AI feedback: a project's constitution, who judges by it, and what they are asked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from labeling.models import Project
from rlhf.contract.errors import ContractError
from rlhf.domain.errors import LearningError
from rlhf.domain.feedback.annotators import add_annotator, retire_annotator
from rlhf.domain.feedback.asking import ask_comparisons, ask_revisions
from rlhf.domain.feedback.constitutions import list_newest, write_constitution
from rlhf.domain.feedback.exam import list_exam_comparisons, take_exam
from rlhf.domain.feedback.overview import count_annotators, list_revisable, list_standings
from rlhf.domain.feedback.report import list_reports, read_figures, start_report
from rlhf.domain.feedback.routing import route_judgments
from rlhf.forms.feedback import AnnotatorForm, AskForm, ConstitutionForm, ReportForm
from rlhf.models import Annotator, Constitution, Run
from rlhf.permissions import manager_required

N_RUNS = 5
N_REPORTS = 3


@require_safe
@manager_required
def list_feedback(request: HttpRequest) -> HttpResponse:
    projects = Project.objects.managed_by(request.user).order_by("name")
    if len(projects) == 1:
        return redirect("rlhf:feedback-detail", projects[0].slug)
    newest, n_annotators = list_newest(projects), count_annotators(projects)
    rows = [(project, newest.get(project.pk), n_annotators.get(project.pk, 0)) for project in projects]
    return render(request, "rlhf/feedback_list.html", {"rows": rows})


@require_safe
@manager_required
def show_feedback(request: HttpRequest, slug: str) -> HttpResponse:
    return render_feedback(request, get_project(request, slug))


@require_POST
@manager_required
def create_constitution(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    form = ConstitutionForm(request.POST, project=project)
    if not form.is_valid():
        return render_feedback(request, project, constitution_form=form, status=422)
    asked = form.cleaned_data
    try:
        constitution = write_constitution(project, asked["principles"], note=asked["note"], user=request.user)
    except LearningError as error:
        form.add_error("principles", str(error))
        return render_feedback(request, project, constitution_form=form, status=422)
    messages.success(request, f"Version {constitution.version} holds from now on for annotators that are added.")
    return redirect("rlhf:feedback-detail", slug)


@require_POST
@manager_required
def create_annotator(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    form = AnnotatorForm(request.POST, project=project)
    if form.is_valid():
        try:
            annotator = add_annotator(project, user=request.user, **form.parts())
        except (LearningError, ContractError) as error:
            form.refuse(error)
        else:
            messages.success(request, f"{annotator} is there; before its labels may enter a dataset it takes an exam.")
            return redirect("rlhf:feedback-detail", slug)
    return render_feedback(request, project, annotator_form=form, status=422)


@require_POST
@manager_required
def ask_annotator(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    project, annotator = get_annotator(request, slug, pk)
    form = AskForm(request.POST)
    if not form.is_valid():
        return render_feedback(request, project, ask_form=form, status=422)
    asked = form.cleaned_data
    try:
        if asked["task"] == "revise":
            completions = list_revisable(annotator, asked["n"])
            run = ask_revisions(annotator, completions, n_turns=asked["n_turns"], user=request.user)
        else:
            chosen = list_exam_comparisons(annotator)[: asked["n"]] if asked["task"] == "exam" else None
            run = ask_comparisons(annotator, chosen, n=asked["n"], route=asked["route"], user=request.user)
    except (LearningError, ContractError) as error:
        return render_feedback(request, project, refusal=str(error), status=409)
    return redirect(run)


@require_POST
@manager_required
def examine_annotator(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    project, annotator = get_annotator(request, slug, pk)
    try:
        result = take_exam(annotator, user=request.user)
    except LearningError as error:
        return render_feedback(request, project, refusal=str(error), status=409)
    verdict = "passed" if result.is_passed else "did not pass"
    messages.info(request, f"{annotator} {verdict}: it agrees with people in {result.agreement:.1%}.")
    return redirect("rlhf:feedback-detail", slug)


@require_POST
@manager_required
def route_annotator(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    _, annotator = get_annotator(request, slug, pk)
    try:
        routing, run = route_judgments(annotator, user=request.user)
    except LearningError as error:
        return render_feedback(request, annotator.project, refusal=str(error), status=409)
    messages.success(request, routing.describe(run))
    return redirect("rlhf:feedback-detail", slug)


@require_POST
@manager_required
def create_report(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    form = ReportForm(request.POST, project=project)
    if not form.is_valid():
        return render_feedback(request, project, report_form=form, status=422)
    try:
        start_report(project, form.cleaned_data["annotators"], user=request.user)
    except (LearningError, ContractError) as error:
        return render_feedback(request, project, refusal=str(error), status=409)
    messages.success(request, "Three reward models are being trained; their figures come here when they are done.")
    return redirect("rlhf:feedback-detail", slug)


@require_POST
@manager_required
def stop_annotator(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    _, annotator = get_annotator(request, slug, pk)
    retire_annotator(annotator, user=request.user)
    messages.success(request, f"{annotator} is asked no more; what it said stays.")
    return redirect("rlhf:feedback-detail", slug)


def get_project(request: HttpRequest, slug: str) -> Project:
    return get_object_or_404(Project.objects.managed_by(request.user), slug=slug)


def get_annotator(request: HttpRequest, slug: str, pk: int) -> tuple[Project, Annotator]:
    project = get_project(request, slug)
    annotators = Annotator.objects.select_related("project", "constitution", "checkpoint")
    return project, get_object_or_404(annotators, project=project, pk=pk)


def render_feedback(
    request: HttpRequest,
    project: Project,
    *,
    constitution_form: ConstitutionForm | None = None,
    annotator_form: AnnotatorForm | None = None,
    ask_form: AskForm | None = None,
    report_form: ReportForm | None = None,
    refusal: str = "",
    status: int = 200,
) -> HttpResponse:
    """Show the project's page, with a form that was refused in place of the fresh one."""
    context: dict[str, Any] = {
        "project": project,
        "refusal": refusal,
        "constitutions": list(Constitution.objects.filter(project=project).order_by("-version")),
        "standings": list_standings(project),
        "runs": Run.objects.filter(project=project, kind=Run.Kind.FEEDBACK).order_by("-id")[:N_RUNS],
        "constitution_form": constitution_form or ConstitutionForm(project=project),
        "annotator_form": annotator_form or AnnotatorForm(project=project),
        "ask_form": ask_form or AskForm(),
        "report_form": report_form or ReportForm(project=project),
        "reports": [(report, read_figures(report)) for report in list_reports(project, n=N_REPORTS)],
    }
    return render(request, "rlhf/feedback_detail.html", context, status=status)
