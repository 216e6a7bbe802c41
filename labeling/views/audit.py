"""The audit trail of a project: who changed what, newest first."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling.domain.trail import Trail, read_trail
from labeling.forms.audit import TrailForm
from labeling.permissions import get_managed_project, login_required


@login_required
@require_safe
def list_audit(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    form = TrailForm(request.GET)
    is_valid = form.is_valid() and set(request.GET) <= set(form.fields)
    trail = read_trail(project, **form.to_search()) if is_valid else Trail(lines=[])
    context = {
        "project": project,
        "form": form,
        "trail": trail,
        "is_first": not request.GET.get("before"),
        "is_filtered": any(value for name, value in request.GET.items() if name != "before"),
    }
    return render(request, "labeling/audit_list.html", context, status=200 if is_valid else 400)
