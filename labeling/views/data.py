"""The data of a project: prompts, completions, comparisons and judgments, found by words and facts, changed in bulk."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from labeling.domain.bulk import change_all, change_rows, count_all
from labeling.domain.errors import InvalidContent
from labeling.domain.filters import Page
from labeling.domain.rows import ShownRow, count_compared, list_completions, show_row
from labeling.domain.saved_views import list_views
from labeling.domain.search import Found, find_prompt, find_rows
from labeling.domain.showing import show_messages
from labeling.forms.data import SEARCHES, BulkForm, SearchForm, ViewForm
from labeling.forms.scales import name_strength
from labeling.models import Project, Prompt
from labeling.permissions import get_managed_project, get_reviewed_project, login_required, may_manage

TEMPLATES = {
    Page.PROMPTS: "labeling/prompt_list.html",
    Page.COMPLETIONS: "labeling/completion_list.html",
    Page.COMPARISONS: "labeling/comparison_list.html",
    Page.JUDGMENTS: "labeling/judgment_list.html",
}
ROUTES = {
    Page.PROMPTS: "labeling:prompt-list",
    Page.COMPLETIONS: "labeling:completion-list",
    Page.COMPARISONS: "labeling:comparison-list",
    Page.JUDGMENTS: "labeling:judgment-list",
}
ACTS = {Page.PROMPTS: ["slice"], Page.COMPARISONS: ["retire", "reopen", "overlap", "priority", "slice"]}


@login_required
@require_safe
def list_rows(request: HttpRequest, slug: str, page: str) -> HttpResponse:
    """Managers see all data, reviewers the comparisons; what a search does not know is answered 400."""
    project = get_reviewed_project(request.user, slug)
    if page != Page.COMPARISONS:
        get_managed_project(request.user, slug)
    return show_rows(request, project, Page(page))


@login_required
@require_POST
def change(request: HttpRequest, slug: str, page: str) -> HttpResponse:
    """Change rows: those ticked at once, all that a search finds after a question, and in as many trips as it takes."""
    project = get_managed_project(request.user, slug)
    if page not in ACTS:
        raise PermissionDenied(_("These rows are never changed."))
    form = BulkForm(request.POST)
    search = SEARCHES[page](QueryDict(request.POST.get("query", "")), project=project, manages=True)
    if not form.is_valid() or not search.is_valid():
        return show_rows(request, project, Page(page), bulk=form, status=422, asked=search)
    try:
        if form.cleaned_data["scope"] == "all":
            return change_found(request, project, page, form, search)
        n = change_rows(project, page, form.ids, form.to_change(), actor=request.user)
    except InvalidContent as error:
        form.add_error(None, str(error))
        return show_rows(request, project, Page(page), bulk=form, status=422, asked=search)
    if not form.ids:
        messages.warning(request, _("Nothing was ticked: tick rows first, or choose all rows found."))
    else:
        say_changed(request, n)
    return redirect(make_address(project, page, search))


def change_found(request: HttpRequest, project: Project, page: str, form: BulkForm, search: SearchForm) -> HttpResponse:
    """Ask first, saying how many rows it is; then change as many as one trip can, and offer the next."""
    context = {
        "project": project,
        "page": page,
        "form": form,
        "query": search.write_query(),
        "act": dict(form.fields["act"].choices)[form.cleaned_data["act"]],  # type: ignore[attr-defined]
        "back": make_address(project, page, search),
    }
    if not form.cleaned_data["confirmed"]:
        n, is_more = count_all(project, search.to_search())
        return render(request, "labeling/bulk_change.html", context | {"n": n, "is_more": is_more})
    progress = change_all(project, search.to_search(), form.to_change(), actor=request.user, after=form.to_place())
    n = progress.n_changed + (form.cleaned_data["n_changed"] or 0)
    if progress.after:
        return render(request, "labeling/bulk_change.html", context | {"n": n, "after": progress.after})
    say_changed(request, n)
    return redirect(make_address(project, page, search))


@login_required
@require_safe
def show_prompt(request: HttpRequest, slug: str, prompt_id: int) -> HttpResponse:
    project = get_managed_project(request.user, slug)
    prompt = get_object_or_404(Prompt.objects.select_related("slice"), project=project, pk=prompt_id)
    completions = list_completions(prompt)
    context = {
        "project": project,
        "page": Page.PROMPTS,
        "prompt": prompt,
        "turns": show_messages(prompt.messages),
        "completions": completions,
        "n_compared": count_compared([prompt.pk]).get(prompt.pk, 0),
    }
    return render(request, "labeling/prompt_detail.html", context)


def show_rows(
    request: HttpRequest,
    project: Project,
    page: Page,
    *,
    bulk: BulkForm | None = None,
    status: int = 200,
    asked: SearchForm | None = None,
) -> HttpResponse:
    """Show a page of rows. bulk: the change that could not be made, of what was asked for with it."""
    manages = may_manage(request.user, project)
    form = asked or SEARCHES[page](request.GET, project=project, manages=manages)
    is_valid = form.is_valid()
    found = find_rows(project, form.to_search(), after=form.to_place()) if is_valid else Found(hits=[])
    context = {
        "project": project,
        "page": page.value,
        "form": form,
        "rows": name_rows(found, page),
        "found": found,
        "older": form.write_query(after=found.after) if found.after else "",
        "query": form.write_query() if is_valid else "",
        "is_first": not form.data.get("after"),
        "exact": find_prompt(project, form.cleaned_data["text"]) if is_valid and page != Page.JUDGMENTS else None,
        "may_manage": manages,
        "views": list_views(project, request.user, page, manages=manages),
        "view_form": ViewForm(auto_id="view-%s"),
        "bulk": bulk or BulkForm(auto_id="bulk-%s", initial={"scope": "ticked"}),
        "acts": [pair for pair in BulkForm.base_fields["act"].choices if pair[0] in ACTS.get(page, [])],  # type: ignore[attr-defined]
        "slices": list(project.slices.all()[:200]) if page in ACTS else [],
    }
    return render(request, TEMPLATES[page], context, status=status if is_valid else 400)


def name_rows(found: Found, page: Page) -> list[tuple[ShownRow, Any]]:
    """Return the rows, each with what its page says besides: how often a prompt is compared, what a vote says."""
    rows = [show_row(hit) for hit in found.hits]
    if page == Page.PROMPTS:
        n = count_compared([shown.row.pk for shown in rows])
        return [(shown, n.get(shown.row.pk, 0)) for shown in rows]
    if page == Page.JUDGMENTS:
        return [(shown, name_strength(shown.row.strength, shown.row.scale)) for shown in rows]
    return [(shown, None) for shown in rows]


def make_address(project: Project, page: str, search: SearchForm) -> str:
    query = search.write_query()
    address = reverse(ROUTES[Page(page)], args=[project.slug])
    return f"{address}?{query}" if query else address


def say_changed(request: HttpRequest, n: int) -> None:
    if n:
        messages.success(request, ngettext("%d row was changed.", "%d rows were changed.", n) % n)
    else:
        messages.info(request, _("Nothing to change: every row is as asked."))
