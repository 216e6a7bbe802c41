"""The judge page: the claim she holds, how she comes by one, and how she wants to be asked."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from labeling.domain.assignment import find_claim, renew_lease, require_member
from labeling.domain.errors import NotAMember
from labeling.forms.judging import ScaleForm
from labeling.forms.scales import is_forced
from labeling.models import Slot
from labeling.permissions import get_known_project, login_required
from labeling.views.pair import show_next, show_reserve, show_slot


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
def reserve_claim(request: HttpRequest, slug: str) -> HttpResponse:
    """Give the page a pair to have ready: held for her, and not shown yet."""
    project = get_known_project(request.user, slug)
    if not request.htmx:
        return redirect("labeling:judge", project.slug)
    return show_reserve(request, project)


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
@require_POST
def choose_scale(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_known_project(request.user, slug)
    form = ScaleForm(request.POST)
    if not form.is_valid() or is_forced(project.scale):
        return HttpResponse(_("Choose quick or seven."), status=422, content_type="text/plain")
    request.session[f"scale:{project.pk}"] = form.cleaned_data["scale"]
    return redirect("labeling:judge", project.slug)


@login_required
@require_POST
def unveil(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the texts behind the project's warning until she logs out."""
    project = get_known_project(request.user, slug)
    require_member(project, request.user)
    request.session[f"unveiled:{project.pk}"] = True
    return HttpResponse(status=204) if request.htmx else redirect("labeling:judge", project.slug)
