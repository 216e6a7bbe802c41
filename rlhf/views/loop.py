"""The circle of each project: where its round stands, when the next may start, and how the last ones went."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from labeling.models import Project
from rlhf.domain.errors import NotReady
from rlhf.domain.loop import start_round
from rlhf.domain.standing import Standing, read_standings
from rlhf.domain.terms import get_loop
from rlhf.forms.projects import LoopForm
from rlhf.permissions import manager_required

N_ROUNDS = 10


@require_safe
@manager_required
def show_progress(request: HttpRequest) -> HttpResponse:
    standings = read_standings(Project.objects.managed_by(request.user))
    return render(request, "rlhf/_standings.html", {"standings": standings}, status=poll_status(standings))


@require_safe
@manager_required
def list_loops(request: HttpRequest) -> HttpResponse:
    if request.htmx:
        project = get_object_or_404(Project.objects.managed_by(request.user), slug=request.GET.get("project", ""))
        standings = read_standings([project], n_rounds=N_ROUNDS)
        context = {"standing": standings[0]}
        return render(request, "rlhf/loop_list.html#live", context, status=poll_status(standings))
    return show_loops(request)


@require_POST
@manager_required
def create_round(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    try:
        round = start_round(project, user=request.user)
    except NotReady as error:
        return show_loops(request, refusal=str(error), status=409)
    messages.success(request, f"Round {round.number} of {project} has started.")
    return redirect("rlhf:loop-list")


@require_POST
@manager_required
def update_loop(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    form = LoopForm(request.POST, instance=get_loop(project), prefix=slug)
    if not form.is_valid():
        return show_loops(request, invalid=form, status=422)
    form.save()
    messages.success(request, f"The loop of {project} is saved.")
    return redirect("rlhf:loop-list")


def show_loops(
    request: HttpRequest, *, refusal: str = "", invalid: LoopForm | None = None, status: int = 200
) -> HttpResponse:
    """Render the page of all projects; `invalid` is shown in place of its project's form."""
    standings = read_standings(Project.objects.managed_by(request.user), n_rounds=N_ROUNDS)
    cards = [
        (
            standing,
            invalid
            if invalid is not None and invalid.prefix == standing.project.slug
            else LoopForm(instance=standing.loop, prefix=standing.project.slug),
        )
        for standing in standings
    ]
    return render(request, "rlhf/loop_list.html", {"cards": cards, "refusal": refusal}, status=status)


def poll_status(standings: list[Standing]) -> int:
    """Tell a polling element to stop once no round is running."""
    return 200 if any(standing.is_running for standing in standings) else HTMX_STOP_POLLING
