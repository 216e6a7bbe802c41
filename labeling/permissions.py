"""Who may see what: every page asks here first."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, resolve_url
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from labeling.domain.errors import NotAMember
from labeling.models import Project, User

View = Callable[..., HttpResponse]


def login_required(view: View) -> View:
    """Send strangers to the login page, the whole browser and not a piece of the page; keep answers out of caches.

    What the domain refuses to someone who is no active member of the project is answered 403.
    """

    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            try:
                return view(request, *args, **kwargs)
            except NotAMember as error:
                raise PermissionDenied(str(error)) from error
        if request.htmx:  # type: ignore[attr-defined]
            here = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]
            return HttpResponseClientRedirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': here})}")
        return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")

    return guarded


def get_project(user: User, slug: str) -> Project:
    """Return a project the user is an active member of; of others even the existence is private (404)."""
    return get_object_or_404(Project.objects.visible_to(user), slug=slug)


def get_known_project(user: User, slug: str) -> Project:
    """Return a project the user belongs to, suspended or not: the domain tells a suspended member why it refuses."""
    return get_object_or_404(Project.objects.known_to(user), slug=slug)


def get_managed_project(user: User, slug: str) -> Project:
    """Return a project the user manages; members who do not are told so (403), others learn nothing (404)."""
    project = get_project(user, slug)
    if not may_manage(user, project):
        raise PermissionDenied(_("Only managers of this project may do that: ask one of them."))
    return project


def get_reviewed_project(user: User, slug: str) -> Project:
    """Return a project whose disagreements the user decides; its labelers are told that they may not (403)."""
    project = get_project(user, slug)
    if not may_review(user, project):
        raise PermissionDenied(_("Only reviewers and managers of this project may do that: ask a manager."))
    return project


def may_review(user: User, project: Project) -> bool:
    return Project.objects.reviewed_by(user).filter(pk=project.pk).exists()


def may_manage(user: User, project: Project) -> bool:
    return Project.objects.managed_by(user).filter(pk=project.pk).exists()


def is_manager(user: User) -> bool:
    """Say whether the user manages any project at all."""
    return user.is_superuser or Project.objects.managed_by(user).exists()
