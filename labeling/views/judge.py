"""The judge page: the claim she holds, and how she comes by one."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from labeling.domain.assignment import find_claim, renew_lease, require_member
from labeling.domain.errors import NotAMember
from labeling.domain.showing import show_pair
from labeling.forms import ScaleForm
from labeling.models import Slot
from labeling.permissions import get_known_project, login_required
from labeling.views.pair import show_next, show_slot


@login_required
@require_safe
def judge(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    try:
        require_member(project, request.user)
    except NotAMember as error:
        context = {"project": project, "reason": str(error), "may_join": request.user.is_superuser}
        return render(request, "labeling/project_join.html", context, status=403)
    return show_slot(request, project, find_claim(project, request.user))


@login_required
@require_POST
def create_claim(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    return show_next(request, project)


@login_required
@require_POST
def renew_claim(request: HttpRequest, slug: str, slot_id: int) -> HttpResponse:
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    slot = Slot.objects.held_by(request.user).filter(project=project, pk=slot_id).select_related("project").first()
    if slot is None or not renew_lease(slot, request.user, slot.lease_token):
        return HttpResponse(status=410)
    return HttpResponse(status=204)


@login_required
@require_safe
def show_text(request: HttpRequest, slug: str, slot_id: int, part: str) -> HttpResponse:
    """The whole of a text too long for the page, for whoever was given the slot."""
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    slot = Slot.objects.with_texts().filter(project=project, pk=slot_id, labeler=request.user).first()
    if slot is None or part not in ("left", "right", "prompt"):
        raise Http404
    pair = show_pair(slot.comparison, a_shown_left=slot.a_shown_left)
    turns = "\n\n".join(f"{turn.role}:\n{turn.body.text}" for turn in [*pair.earlier, pair.last])
    text = {"left": pair.left.text, "right": pair.right.text, "prompt": turns}[part]
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@login_required
@require_POST
def choose_scale(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = ScaleForm(request.POST)
    if not form.is_valid():
        return HttpResponse("Choose quick or seven.", status=422, content_type="text/plain")
    request.session[f"scale:{project.pk}"] = form.cleaned_data["scale"]
    if not request.htmx:
        return redirect("labeling:judge", project.slug)
    return show_slot(request, project, find_claim(project, request.user))
