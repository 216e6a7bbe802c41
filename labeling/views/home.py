"""The front door: the user's projects and the way to the next pair."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from labeling.domain.overview import list_places
from labeling.models import Judgment, Project
from labeling.permissions import login_required


@login_required
@require_safe
def show_home(request: HttpRequest) -> HttpResponse:
    places = list_places(request.user)
    context = {
        "places": places,
        "may_judge": any(place.state in ("open", "exam_open") for place in places),
        "is_manager": request.user.is_superuser or any(place.may_manage for place in places),
    }
    return render(request, "labeling/home.html", context)


@login_required
@require_safe
def resume(request: HttpRequest) -> HttpResponse:
    """Go on where she judged last, or where there is only one place to go."""
    projects = Project.objects.visible_to(request.user)
    last = Judgment.objects.filter(labeler=request.user, comparison__project__in=projects).order_by("-id").first()
    if last is not None:
        return redirect(last.comparison.project)
    only = list(projects[:2])
    return redirect(only[0]) if len(only) == 1 else redirect("labeling:home")
