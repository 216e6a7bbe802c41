"""Searches people keep under a name: their own, and those others share in the project."""

from __future__ import annotations

from urllib.parse import parse_qs

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.content import check_text
from labeling.domain.errors import InvalidContent
from labeling.domain.filters import FOR_MANAGERS
from labeling.models import Project, SavedView, User

MAX_VIEWS = 100  # of one owner on one page; a list longer than that is no help


@transaction.atomic
def save_view(project: Project, owner: User, *, page: str, name: str, query: str, is_shared: bool) -> SavedView:
    """Keep a search under a name; the same name again replaces what it stood for."""
    check_text(name, what=_("the name"))
    own = SavedView.objects.filter(project=project, owner=owner, page=page)
    facts = {"query": query, "is_shared": is_shared}
    stored = own.filter(name=name).first()
    if stored is None and own.count() >= MAX_VIEWS:
        raise InvalidContent(_("You have %d saved views here: delete one first.") % MAX_VIEWS)
    before = {key: getattr(stored, key) for key in facts} if stored else {}
    if before == facts and stored:
        return stored
    view, _is_new = SavedView.objects.update_or_create(
        project=project, owner=owner, page=page, name=name, defaults=facts
    )
    record_event(
        "view.save", f"view {name}"[:200], actor=owner, project=project, before=before, after={"page": page, **facts}
    )
    return view


@transaction.atomic
def delete_view(view: SavedView, actor: User) -> bool:
    """Keep a search no longer; False when it was gone already."""
    before = {"page": view.page, "query": view.query, "is_shared": view.is_shared}
    if not SavedView.objects.filter(pk=view.pk).delete()[0]:
        return False
    record_event("view.delete", f"view {view.name}"[:200], actor=actor, project=view.project, before=before)
    return True


def list_views(project: Project, user: User, page: str, *, manages: bool) -> list[SavedView]:
    """Return the user's views of a page and the shared ones; who does not manage is offered none she may not ask."""
    kept = SavedView.objects.filter(Q(owner=user) | Q(is_shared=True), project=project, page=page)
    rows = kept.select_related("owner").order_by("name", "id")[: 5 * MAX_VIEWS]
    return [view for view in rows if manages or not FOR_MANAGERS & set(parse_qs(view.query))]
