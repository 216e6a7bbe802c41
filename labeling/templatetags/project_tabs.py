"""The tabs of a project: those of its pages that the user may see."""

from __future__ import annotations

from typing import Any, NamedTuple

from django import template
from django.template import RequestContext
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from labeling.models import Membership, Project, User

register = template.Library()

LABELER, REVIEWER, MANAGER = range(3)
RANKS = {Membership.Role.LABELER: LABELER, Membership.Role.REVIEWER: REVIEWER, Membership.Role.MANAGER: MANAGER}


class Tab(NamedTuple):
    """A page of a project, who may see it, and what it is called."""

    key: str
    route: str
    name: object
    rank: int


TABS = [
    Tab("overview", "labeling:project-detail", _("Overview"), LABELER),
    Tab("guideline", "labeling:guideline-list", _("Guideline"), LABELER),
    Tab("data", "labeling:comparison-list", _("Data"), REVIEWER),
    Tab("review", "labeling:review-list", _("Review"), REVIEWER),
    Tab("quality", "labeling:quality", _("Quality"), REVIEWER),
    Tab("gold", "labeling:gold-list", _("Gold"), MANAGER),
    Tab("members", "labeling:member-list", _("Members"), MANAGER),
    Tab("imports", "labeling:import-list", _("Imports"), MANAGER),
    Tab("settings", "labeling:project-edit", _("Settings"), MANAGER),
    Tab("audit", "labeling:audit-list", _("Audit trail"), MANAGER),
]


@register.simple_tag(takes_context=True)
def list_tabs(context: RequestContext, project: Project) -> list[dict[str, Any]]:
    """Return key, name and address of the pages of a project that the user may see."""
    rank = find_rank(context["request"].user, project)
    found = [
        {"key": tab.key, "name": tab.name, "href": find_address(tab.route, project)} for tab in TABS if tab.rank <= rank
    ]
    return [tab for tab in found if tab["href"]]


def find_rank(user: User, project: Project) -> int:
    if user.is_superuser:
        return MANAGER
    role = Membership.objects.filter(user=user, project=project, is_active=True).values_list("role", flat=True).first()
    return RANKS.get(Membership.Role(role), LABELER) if role else LABELER


def find_address(route: str, project: Project) -> str:
    try:
        return reverse(route, args=[project.slug])
    except NoReverseMatch:
        return ""
