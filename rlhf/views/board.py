"""People beside the reward model: the page that says how often they choose alike."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from labeling.models import Project
from rlhf.domain.board import read_board, score_board
from rlhf.domain.errors import LearningError
from rlhf.domain.pair_scores import find_judge
from rlhf.permissions import manager_required

TITLES = {"strength": "How sure people were", "policy": "Whose completions", "slice": "Slice", "labeler": "Labeler"}


@require_safe
@manager_required
def show_board(request: HttpRequest) -> HttpResponse:
    return render_board(request)


@require_POST
@manager_required
def score_votes(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask the reward model about the judged pairs it has said nothing of; that it has said all is status 409."""
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    reward_model = find_judge(project)
    if reward_model is None:
        raise Http404
    try:
        run = score_board(reward_model, user=request.user)
    except LearningError as error:
        return render_board(request, project=project, refusal=str(error), status=409)
    messages.success(request, f"{run} is queued; what it says comes here when it is over.")
    return redirect(f"{reverse('rlhf:checkpoint-board')}?project={slug}")


def render_board(
    request: HttpRequest, *, project: Project | None = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    """Show the board of a project, of ?project=SLUG, or of the first there is."""
    projects = Project.objects.managed_by(request.user).order_by("name")
    slug = request.GET.get("project", "")
    project = project or (get_object_or_404(projects, slug=slug) if slug else projects.first())
    reward_model = find_judge(project) if project else None
    board = read_board(reward_model) if reward_model else None
    context = {
        "projects": projects,
        "project": project,
        "board": board,
        "parts": [(TITLES[part], lines) for part, lines in board.parts.items() if lines] if board else [],
        "refusal": refusal,
    }
    return render(request, "rlhf/checkpoint_board.html", context, status=status)
