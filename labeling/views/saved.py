"""Saved views of data: keep a search, and keep it no longer."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from labeling.domain.errors import InvalidContent
from labeling.domain.filters import Page
from labeling.domain.saved_views import delete_view, save_view
from labeling.forms.data import QUERY_CHARS, SEARCHES, ViewForm
from labeling.models import SavedView
from labeling.permissions import get_managed_project, get_reviewed_project, login_required, may_manage
from labeling.views.data import ROUTES, make_address


@login_required
@require_POST
def save(request: HttpRequest, slug: str) -> HttpResponse:
    """Keep a search of a page she may see; only one that the page can read is kept."""
    project = get_reviewed_project(request.user, slug)
    form = ViewForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Give the view a name of at most 100 characters."))
        page = Page(form.cleaned_data.get("page", Page.COMPARISONS))
        return redirect(ROUTES[page], project.slug)
    said = form.cleaned_data
    if said["page"] != Page.COMPARISONS:
        get_managed_project(request.user, slug)
    manages = may_manage(request.user, project)
    search = SEARCHES[said["page"]](QueryDict(said["query"]), project=project, manages=manages)
    query = search.write_query()
    if not search.is_valid() or len(query) > QUERY_CHARS:
        messages.error(request, _("This search cannot be kept: it is too long, or not one of this page."))
        return redirect(ROUTES[Page(said["page"])], project.slug)
    try:
        view = save_view(project, request.user, **(said | {"query": query}))
        messages.success(request, _("“%s” is kept.") % view)
    except InvalidContent as error:
        messages.error(request, str(error))
    return redirect(make_address(project, said["page"], search))


@login_required
@require_POST
def delete(request: HttpRequest, slug: str, view_id: int) -> HttpResponse:
    """Her own; managers may delete what others share, too."""
    project = get_reviewed_project(request.user, slug)
    view = get_object_or_404(SavedView.objects.select_related("project"), project=project, pk=view_id)
    if view.owner_id != request.user.pk and not (view.is_shared and may_manage(request.user, project)):
        raise Http404
    if delete_view(view, request.user):
        messages.success(request, _("“%s” is kept no longer.") % view)
    return redirect(reverse(ROUTES[Page(view.page)], args=[project.slug]))
