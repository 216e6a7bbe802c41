"""Where a model comes from, and where a labeler's judgments went."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from labeling.models import Judgment, Project, User
from rlhf.domain.errors import NotReady
from rlhf.domain.lineage import trace_back, trace_judgment, trace_labeler
from rlhf.domain.lineage_graph import Graph
from rlhf.domain.rebuilding import rebuild_without, tell_rebuild
from rlhf.domain.without import measure_effect
from rlhf.models import Checkpoint
from rlhf.permissions import manager_required, of_managed_projects
from rlhf.views.graph import draw_graph

KINDS = {
    "labeler": "Labelers",
    "guideline": "Guidelines",
    "import": "Imports",
    "annotator": "AI annotators",
    "dataset": "Datasets",
    "run": "Runs",
    "checkpoint": "Models",
}


@require_safe
@manager_required
def show_checkpoint_lineage(request: HttpRequest, pk: int) -> HttpResponse:
    checkpoint = get_object_or_404(
        of_managed_projects(Checkpoint.objects.select_related("project"), request.user), pk=pk
    )
    about = "What it was made of, back to the judgments."
    return show_graph(request, trace_back(checkpoint), title=f"Lineage of {checkpoint}", about=about, of=checkpoint)


@require_safe
@manager_required
def show_labeler_lineage(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return render_labeler(request, *get_labeler(request, slug, pk))


@require_safe
@manager_required
def show_judgment_lineage(request: HttpRequest, pk: int) -> HttpResponse:
    managed = Project.objects.managed_by(request.user)
    judgments = Judgment.objects.filter(comparison__project__in=managed).select_related(
        "comparison__project", "labeler"
    )
    judgment = get_object_or_404(judgments, pk=pk)
    about = "Every dataset and model it went into."
    return show_graph(request, trace_judgment(judgment), title=f"Lineage of judgment {pk}", about=about)


@require_POST
@manager_required
def rebuild(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    project, labeler = get_labeler(request, slug, pk)
    try:
        round = rebuild_without(project, labeler, user=request.user)
    except NotReady as error:
        return render_labeler(request, project, labeler, refusal=str(error), status=409)
    messages.success(
        request,
        f"{labeler} is in quarantine; round {round.number} of {project} {tell_rebuild(round, labeler)}.",
    )
    return redirect("rlhf:loop-list")


def get_labeler(request: HttpRequest, slug: str, pk: int) -> tuple[Project, User]:
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    return project, get_object_or_404(User.objects.filter(memberships__project=project), pk=pk)


def render_labeler(
    request: HttpRequest, project: Project, labeler: User, *, refusal: str = "", status: int = 200
) -> HttpResponse:
    graph = trace_labeler(project, labeler)
    effect = measure_effect(project, labeler)
    more = {"project": project, "labeler": labeler, "refusal": refusal, "models": graph.checkpoints, "effect": effect}
    about = f"Every dataset and model of {project} that her judgments went into."
    return show_graph(request, graph, title=f"Lineage of {labeler}", about=about, status=status, **more)


def show_graph(
    request: HttpRequest, graph: Graph, *, title: str, about: str, status: int = 200, **more: object
) -> HttpResponse:
    """Show a lineage as a picture, and the same as lists for whoever cannot use one."""
    lists = [(words, graph.list_of(kind)) for kind, words in KINDS.items()]
    context = {
        "title": title,
        "about": about,
        "graph": graph,
        "picture": draw_graph(graph) if len(graph.nodes) > 1 else None,
        "lists": [(words, nodes) for words, nodes in lists if nodes],
    }
    return render(request, "rlhf/lineage_detail.html", context | more, status=status)
