"""The top of every page: where one can go, and where one is."""

from __future__ import annotations

from typing import Any, NamedTuple

from django import template
from django.template import RequestContext
from django.utils.translation import gettext_lazy as _

from labeling.permissions import is_manager

register = template.Library()


class Place(NamedTuple):
    href: str
    name: object
    is_current: bool


# Pages where models learn are named by address: labeling never imports them.
FOR_ALL = {"/judge/": _("Judge"), "/projects/": _("Projects")}
FOR_MANAGERS = {
    "/datasets/": _("Datasets"),
    "/runs/": _("Runs"),
    "/checkpoints/": _("Checkpoints"),
    "/loop/": _("Loop"),
    "/feedback/": _("AI feedback"),
}


@register.inclusion_tag("_navigation.html", takes_context=True)
def navigation(context: RequestContext) -> dict[str, Any]:
    """Show the places the user may visit."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.is_authenticated:
        return {"user": user, "places": []}
    places = FOR_ALL | (FOR_MANAGERS if is_manager(user) else {})
    return {
        "user": user,
        "places": [Place(href, name, request.path.startswith(href)) for href, name in places.items()],
    }
