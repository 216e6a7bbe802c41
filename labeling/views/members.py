"""A project's members: the list, one of them, and invitations to join."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.domain.errors import LabelingError
from labeling.domain.invitations import (
    InvitationGone,
    accept_invitation,
    invite,
    list_invitations,
    read_invitation,
    withdraw,
)
from labeling.domain.labeler_record import list_events
from labeling.domain.members import find_user, list_members
from labeling.domain.people import add_member, change_role, set_routing
from labeling.domain.trail import write_lines
from labeling.forms.members import (
    AddForm,
    InviteForm,
    ListForm,
    PasswordForm,
    RoleForm,
    RoutingForm,
    WithdrawForm,
)
from labeling.forms.standing import list_acts, name_standing
from labeling.models import Membership, Project
from labeling.permissions import get_managed_project, login_required

BACKEND = "labeling.accounts.PasswordBackend"


@login_required
@require_safe
def show_members(request: HttpRequest, slug: str) -> HttpResponse:
    return show_list(request, get_managed_project(request.user, slug))


@login_required
@require_POST
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """Add someone who has an account."""
    project = get_managed_project(request.user, slug)
    form = AddForm(request.POST)
    if not form.is_valid():
        return show_list(request, project, add_form=form, status=422)
    try:
        user = find_user(form.cleaned_data["name"])
        if Membership.objects.filter(project=project, user=user).exists():
            raise LabelingError(_("%s is a member already: change her role on her page.") % user)
        add_member(project, user, role=form.cleaned_data["role"], actor=request.user)
    except LabelingError as error:
        form.add_error("name", str(error))
        return show_list(request, project, add_form=form, status=422)
    messages.success(request, _("%s is a member now.") % user)
    return redirect("labeling:member-list", project.slug)


@login_required
@require_POST
def create_invitation(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a link and show it, once: nobody keeps it."""
    project = get_managed_project(request.user, slug)
    form = InviteForm(request.POST)
    if not form.is_valid():
        return show_list(request, project, invite_form=form, status=422)
    try:
        token = invite(project, request.user, **form.cleaned_data)
    except LabelingError as error:
        form.add_error(None, str(error))
        return show_list(request, project, invite_form=form, status=422)
    link = request.build_absolute_uri(reverse("labeling:invitation", args=[token]))
    return show_list(request, project, link=link, invited=form.cleaned_data["username"])


@login_required
@require_POST
def withdraw_invitation(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    form = WithdrawForm(request.POST)
    pk = form.cleaned_data["invitation"] if form.is_valid() else 0
    for invitation in list_invitations(project):
        if invitation.pk == pk:
            withdraw(invitation, request.user)
            messages.success(request, _("The link for %s opens nothing any more.") % invitation.username)
    return redirect("labeling:member-list", project.slug)


@login_required
@require_safe
def show_member(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    return show_one(request, find_membership(project, user_id))


@login_required
@require_POST
def create_role(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    membership = find_membership(get_managed_project(request.user, slug), user_id)
    form = RoleForm(request.POST)
    return store(request, membership, form, lambda said: change_role(membership, request.user, role=said["role"]))


@login_required
@require_POST
def create_routing(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    membership = find_membership(get_managed_project(request.user, slug), user_id)
    form = RoutingForm(request.POST, project=membership.project)
    return store(request, membership, form, lambda said: set_routing(membership, request.user, **said))


def store(request: HttpRequest, membership: Membership, form: Form, change: Any) -> HttpResponse:
    """Carry out a valid form, or show the page again with what is wrong."""
    if not form.is_valid():
        return show_one(request, membership, bad=form, status=422)
    try:
        change(form.cleaned_data)
    except LabelingError as error:
        form.add_error(None, str(error))
        return show_one(request, membership, bad=form, status=422)
    messages.success(request, _("Stored."))
    return redirect("labeling:member-edit", membership.project.slug, membership.user_id)


@never_cache
@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Whoever holds the link chooses a password and is in; nobody has to be logged in for that."""
    try:
        invitation = read_invitation(token)
        posted = request.POST if request.method == "POST" else None
        form = PasswordForm(posted, username=invitation.username, email=invitation.email)
        if request.method == "POST" and form.is_valid():
            user, project = accept_invitation(token, password=form.cleaned_data["password"])
            login(request, user, backend=BACKEND)
            return redirect("labeling:project-detail", project.slug)
    except InvitationGone as error:
        return render(request, "labeling/invitation_detail.html", {"gone": str(error)}, status=410)
    context = {"invitation": invitation, "form": form}
    return render(request, "labeling/invitation_detail.html", context, status=422 if form.errors else 200)


def show_list(request: HttpRequest, project: Project, *, status: int = 200, **said: Any) -> HttpResponse:
    """Show the members. said: add_form or invite_form with errors, or the link to send and who is invited."""
    search = ListForm(request.GET)
    asked = search.cleaned_data if search.is_valid() else {"words": "", "after": ""}
    members = list_members(project, **asked)
    context = {
        "project": project,
        "search": search,
        "rows": [(row, name_standing(row.membership)) for row in members.rows],
        "after": members.after,
        "words": asked["words"],
        "invitations": list_invitations(project),
        "add_form": AddForm(auto_id="add-%s"),
        "invite_form": InviteForm(auto_id="invite-%s"),
    }
    return render(request, "labeling/member_list.html", context | said, status=status)


def show_one(
    request: HttpRequest, membership: Membership, *, bad: Form | None = None, status: int = 200
) -> HttpResponse:
    """Show a member; bad: the form that could not be carried out."""
    routing = {"languages": membership.languages, "slices": membership.slices}
    context = {
        "project": membership.project,
        "membership": membership,
        "standing": name_standing(membership),
        "acts": list_acts(membership),
        "role_form": bad if isinstance(bad, RoleForm) else RoleForm(initial={"role": membership.role}),
        "routing_form": bad
        if isinstance(bad, RoutingForm)
        else RoutingForm(initial=routing, project=membership.project),
        "lines": write_lines(list_events(membership)),
    }
    return render(request, "labeling/member_edit.html", context, status=status)


def find_membership(project: Project, user_id: int) -> Membership:
    memberships = Membership.objects.select_related("user", "project")
    return get_object_or_404(memberships, project=project, user=user_id)
