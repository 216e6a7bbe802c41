"""The desk page: how she likes her judge page, in which language, and which slices she declines."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from labeling.domain.desk import Desk, read_desk, save_desk
from labeling.domain.skipping import accept_slice
from labeling.forms.desk import AcceptForm, DeskForm, fill_desk
from labeling.models import Membership
from labeling.permissions import get_project, login_required


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_desk(request: HttpRequest) -> HttpResponse:
    form = DeskForm(request.POST or None, initial=fill_desk(read_desk(request.user)))
    if request.method == "POST" and form.is_valid():
        save_desk(request.user, form.to_desk())
        messages.success(request, _("Your desk is as you want it."))
        return redirect("labeling:desk")
    memberships = Membership.objects.filter(user=request.user, is_active=True).exclude(declined=[])
    context = {"form": form, "declining": memberships.select_related("project").order_by("project__name", "pk")}
    return render(request, "labeling/desk_edit.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def reset_desk(request: HttpRequest) -> HttpResponse:
    """Keys and looks as the house has them; the language stays."""
    save_desk(request.user, Desk(language=read_desk(request.user).language))
    messages.success(request, _("Your desk is as the house has it."))
    return redirect("labeling:desk")


@login_required
@require_POST
def accept(request: HttpRequest, slug: str) -> HttpResponse:
    """Show her a slice again that she had declined."""
    project = get_project(request.user, slug)
    form = AcceptForm(request.POST)
    if form.is_valid():
        accept_slice(project, request.user, form.cleaned_data["name"])
        messages.success(request, _("You are shown it again."))
    return redirect("labeling:desk")
