"""A project's members as its managers see them: what each may do, how much she judged, when she was last seen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Max, Q
from django.utils.translation import gettext as _

from labeling.domain.errors import LabelingError
from labeling.domain.projects import COST, FRESH_S
from labeling.models import Judgment, Membership, Project, User

PAGE_ROWS = 50


class UnknownUser(LabelingError):
    """Nobody here has this name or address, or several people have."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member and her numbers in the project; seen_at is when she last judged or logged in."""

    membership: Membership
    n_judgments: int
    seen_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Members:
    """A page of members by name; after is the name to go on from, empty at the end."""

    rows: list[Member]
    after: str = ""


def list_members(project: Project, *, words: str = "", after: str = "") -> Members:
    """Return members whose name or e-mail address contains the words, by name."""
    found = Membership.objects.filter(project=project, user__username__gt=after).select_related("user")
    if words:
        found = found.filter(Q(user__username__icontains=words) | Q(user__email__icontains=words))
    rows = list(found.order_by("user__username")[: PAGE_ROWS + 1])
    shown = rows[:PAGE_ROWS]
    counts = load_counts(project, [row.user_id for row in shown])
    return Members(
        rows=[show(row, counts.get(row.user_id, (0, None))) for row in shown],
        after=shown[-1].user.username if len(rows) > PAGE_ROWS else "",
    )


def show(membership: Membership, counted: tuple[int, datetime | None]) -> Member:
    n, judged_at = counted
    seen = [at for at in (judged_at, membership.user.last_login) if at]
    return Member(membership=membership, n_judgments=n, seen_at=max(seen, default=None))


def load_counts(project: Project, labelers: list[int]) -> dict[int, tuple[int, datetime | None]]:
    """Return how many comparisons each judged, and when last; counted again once that is old."""
    key = f"members:{project.pk}:{'-'.join(map(str, labelers))}"[:200]
    kept: dict[int, tuple[int, datetime | None]] | None = cache.get(key)
    if kept is not None:
        return kept
    started = time.monotonic()
    judged = Judgment.objects.of_project(project).filter(labeler__in=labelers, revises__isnull=True)
    rows: Any = judged.values_list("labeler").annotate(n=Count("id"), last=Max("submitted_at")).order_by()
    counts = {labeler: (n, last) for labeler, n, last in rows}
    cache.set(key, counts, max(FRESH_S, COST * (time.monotonic() - started)))
    return counts


def find_user(name: str) -> User:
    """Return whoever can log in under this name or e-mail address. Raises: UnknownUser."""
    users = User.objects.filter(is_active=True)
    by_name = users.filter(username=name).first()
    found = [by_name] if by_name else list(users.filter(email__iexact=name).exclude(email="")[:2])
    if not found:
        raise UnknownUser(_("Nobody has the name or address “%s”: invite her instead.") % name)
    if len(found) > 1:
        raise UnknownUser(_("Several people have the address “%s”: give the user name.") % name)
    return found[0]
