"""The circle of each project: where it stands, what it waits for, what people may do, and how the last rounds went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from labeling.models import Project, Slice
from rlhf.domain.adjusting import read_settings, record_settings
from rlhf.domain.errors import LearningError, NotReady
from rlhf.domain.loop import pause_loop, resume_loop, start_loop, start_round, step_loop, stop_loop
from rlhf.domain.promoting import list_promoted, list_promoted_of, roll_back
from rlhf.domain.standing import Standing, read_standings
from rlhf.domain.terms import get_loop
from rlhf.forms.projects import LoopForm, PauseForm, RollbackForm
from rlhf.models import Checkpoint, Loop
from rlhf.permissions import manager_required
from rlhf.views.circle import Place, draw_circle

N_ROUNDS = 10
SAID = {
    "start": "The loop of {} goes by itself.",
    "resume": "The loop of {} goes by itself again.",
    "pause": "The loop of {} is paused.",
    "stop": "The loop of {} is stopped.",
    "step": "The loop of {} has taken a step.",
}


@dataclass(frozen=True)
class Card:
    """What the page shows of one project."""

    standing: Standing
    form: LoopForm
    rollback: RollbackForm

    @property
    def places(self) -> list[Place]:
        return draw_circle(self.standing)


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
        (card,) = make_cards([project])
        return render(request, "rlhf/loop_list.html#live", {"card": card}, status=poll_status([card.standing]))
    return show_loops(request)


@require_POST
@manager_required
def create_round(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    try:
        round = start_round(project, user=request.user)
    except NotReady as error:
        return show_loops(request, refusal=str(error), status=409)
    messages.success(request, f"Round {round.number} of {project} is under way.")
    return redirect("rlhf:loop-list")


@require_POST
@manager_required
def move_loop(request: HttpRequest, slug: str, act: str) -> HttpResponse:
    """Start, pause, resume, stop or step; what cannot be done now is said with status 409."""
    loop = get_loop(get_object_or_404(Project.objects.managed_by(request.user), slug=slug))
    form = PauseForm(request.POST)
    because = form.cleaned_data["because"] if form.is_valid() else ""
    try:
        if act == "pause":
            pause_loop(loop, user=request.user, because=because)
        elif act == "stop":
            stop_loop(loop, user=request.user, because=because)
        else:
            {"start": start_loop, "resume": resume_loop, "step": step_loop}[act](loop, user=request.user)
    except LearningError as error:
        return show_loops(request, refusal=str(error), status=409)
    messages.success(request, SAID[act].format(loop.project))
    return redirect("rlhf:loop-list")


@require_POST
@manager_required
def restore_policy(request: HttpRequest, slug: str) -> HttpResponse:
    """Go back to an earlier promoted policy."""
    loop = get_loop(get_object_or_404(Project.objects.managed_by(request.user), slug=slug))
    form = RollbackForm(request.POST, policies=list(list_promoted(loop.project)))
    if not form.is_valid():
        return show_loops(request, refusal="Choose a policy that was promoted in this project.", status=422)
    try:
        n_retired = roll_back(loop, form.cleaned_data["policy"], user=request.user)
    except NotReady as error:
        return show_loops(request, refusal=str(error), status=409)
    messages.success(request, f"{loop.project} is back at {loop.policy}; {n_retired} waiting pairs were retired.")
    return redirect("rlhf:loop-list")


@require_POST
@manager_required
def update_loop(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_object_or_404(Project.objects.managed_by(request.user), slug=slug)
    loop = get_loop(project)
    before = read_settings(loop)
    form = LoopForm(request.POST, instance=loop, prefix=slug)
    if not form.is_valid():
        return show_loops(request, invalid=form, status=422)
    with transaction.atomic():
        record_settings(form.save(), before, user=request.user)
    messages.success(request, f"The loop of {project} is saved.")
    return redirect("rlhf:loop-list")


def show_loops(
    request: HttpRequest, *, refusal: str = "", invalid: LoopForm | None = None, status: int = 200
) -> HttpResponse:
    """Render the page of all projects, or of ?project=SLUG; `invalid` is shown in place of its project's form."""
    projects = Project.objects.managed_by(request.user)
    if slug := request.GET.get("project", ""):
        projects = projects.filter(pk=get_object_or_404(projects, slug=slug).pk)
    cards = make_cards(list(projects), invalid=invalid)
    return render(request, "rlhf/loop_list.html", {"cards": cards, "refusal": refusal}, status=status)


def make_cards(projects: list[Project], *, invalid: LoopForm | None = None) -> list[Card]:
    """Return what the page shows of these projects, in a number of queries that does not grow with them."""
    standings = read_standings(projects, n_rounds=N_ROUNDS)
    promoted = list_promoted_of(projects)
    slices: dict[int, list[Slice]] = {project.pk: [] for project in projects}
    for one in Slice.objects.filter(project__in=projects):
        slices[one.project_id].append(one)
    return [
        Card(
            standing,
            invalid
            if invalid is not None and invalid.prefix == standing.project.slug
            else LoopForm(instance=standing.loop, prefix=standing.project.slug, slices=slices[standing.project.pk]),
            RollbackForm(policies=list_earlier(standing, promoted[standing.project.pk])),
        )
        for standing in standings
    ]


def list_earlier(standing: Standing, promoted: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return the policies one can go back to; to the current one while a round is under way, which that ends."""
    return [policy for policy in promoted if policy != standing.policy or standing.is_running]


def poll_status(standings: list[Standing]) -> int:
    """Tell a polling element to stop once nothing changes by itself any more."""
    is_moving = any(standing.is_running or standing.loop.state == Loop.State.RUNNING for standing in standings)
    return 200 if is_moving else HTMX_STOP_POLLING
