"""Who may see that models learn here: superusers, and managers their own projects. For everyone else it is not there.

A labeler who saw a checkpoint or a run could guess whose completions she judges.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse

from labeling.models import Project, User
from labeling.permissions import is_manager, login_required

Row = TypeVar("Row", bound=Model)
View = Callable[..., HttpResponse]


def of_managed_projects(rows: QuerySet[Row], user: User) -> QuerySet[Row]:
    """Return those of the rows whose project the user manages."""
    return rows if user.is_superuser else rows.filter(project__in=Project.objects.managed_by(user))


def manager_required(view: View) -> View:
    """Send strangers to the login page and answer 404 to those who manage nothing."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_manager(request.user):
            raise Http404
        return view(request, *args, **kwargs)

    return login_required(guarded)
