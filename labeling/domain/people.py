"""Accounts and memberships: who is in a project, as what, and whether her judgments count."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from labeling.domain.audit import record_event
from labeling.domain.errors import LabelingError
from labeling.domain.requeueing import requeue_lost
from labeling.models import Membership, Project, Slot, User


class LastManager(LabelingError):
    """The project would be left without anyone to manage it."""


class InvalidRouting(LabelingError):
    """A language or a slice the project does not have."""


def ensure_admin() -> tuple[User, str] | None:
    """Make the first superuser, from DJANGO_SUPERUSER_* or with a random password, and return both; None if there is one."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    password = os.environ.get("DJANGO_SUPERUSER_PASSWORD") or secrets.token_urlsafe(12)
    user = User.objects.create_superuser(
        username=os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin",
        email=os.environ.get("DJANGO_SUPERUSER_EMAIL", ""),
        password=password,
    )
    return user, password


@transaction.atomic
def add_member(project: Project, user: User, *, role: str, actor: User | None = None) -> Membership:
    """Give the user a role in the project, replacing the one she had; whoever is in quarantine stays in it."""
    membership, is_new = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if is_new:
        record_event("member.add", user, actor=actor, project=project, after={"role": role})
        return membership
    return change_member("member.add", membership, actor, {"role": role, "is_active": not membership.is_quarantined})


def change_role(membership: Membership, actor: User | None, *, role: str) -> Membership:
    """Let a member be something else from now on."""
    return change_member("member.role", membership, actor, {"role": Membership.Role(role).value})


def pause_member(membership: Membership, actor: User | None, *, reason: str = "") -> Membership:
    """Give her nothing more to judge, and what she holds to others; what she judged counts."""
    return change_member("member.pause", membership, actor, {"is_active": False}, reason=reason)


def quarantine_member(
    membership: Membership, actor: User | None, *, reason: str = "", requeue: bool = False
) -> Membership:
    """Pause a member and keep her judgments out of datasets; requeue asks others for what she judged.

    Asking others goes on after the quarantine holds, a chunk of comparisons at a time.
    """
    facts = {"is_active": False, "is_quarantined": True}
    membership = change_member("member.quarantine", membership, actor, facts, reason=reason)
    if requeue:
        requeue_lost(membership, actor=actor)
    return membership


def reinstate_member(membership: Membership, actor: User | None, *, reason: str = "") -> Membership:
    """Let her judge again, and all her judgments count."""
    facts = {"is_active": True, "is_quarantined": False}
    return change_member("member.reinstate", membership, actor, facts, reason=reason)


def set_routing(
    membership: Membership, actor: User | None, *, languages: Sequence[str], slices: Sequence[str]
) -> Membership:
    """Say which languages and slices she is given; none of them means all."""
    known = list(membership.project.slices.values_list("name", "language"))
    strange = {*slices} - {name for name, _language in known} | {*languages} - {language for _name, language in known}
    if strange:
        raise InvalidRouting(_("This project has no slice or language %s.") % ", ".join(sorted(strange)))
    facts = {"languages": sorted({*languages}), "slices": sorted({*slices})}
    return change_member("member.route", membership, actor, facts)


@transaction.atomic
def change_member(
    verb: str, membership: Membership, actor: User | None, facts: dict[str, Any], *, reason: str = ""
) -> Membership:
    """Store what changes of a membership, with an audit event; where nothing does, nothing is recorded.

    Raises: LastManager. Whoever is given no more work gives back what she holds.
    """
    # Locked in one order: of two managers who demote each other, the second finds herself the last.
    members = Membership.objects.filter(project=membership.project_id).select_related("user", "project").order_by("pk")
    locked = members.select_for_update(no_key=True, of=("self",))
    managers = list(locked.filter(role=Membership.Role.MANAGER, is_active=True))
    membership = locked.get(pk=membership.pk)
    before = {name: getattr(membership, name) for name in facts}
    after = {name: value for name, value in facts.items() if value != before[name]}
    if not after:
        return membership
    is_lost = after.get("is_active") is False or after.get("role", Membership.Role.MANAGER) != Membership.Role.MANAGER
    if is_lost and [row.pk for row in managers] == [membership.pk]:
        raise LastManager(_("%s is the last manager: make someone else a manager first.") % membership.user)
    Membership.objects.filter(pk=membership.pk).update(**after)
    for name, value in after.items():
        setattr(membership, name, value)
    if after.get("is_active") is False:
        Slot.objects.held_by(membership.user).filter(project=membership.project_id).free_up()
    said = after | ({"reason": reason} if reason else {})
    old = {name: before[name] for name in after}
    record_event(verb, membership.user, actor=actor, project=membership.project, before=old, after=said)
    return membership


def ensure_simulated_labeler(project: Project, number: int) -> User:
    """Return the project's n-th simulated labeler; it cannot log in."""
    user, is_new = User.objects.get_or_create(
        username=f"simulated-{number}", defaults={"kind": User.Kind.SIMULATED, "is_active": False}
    )
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    add_member(project, user, role=Membership.Role.LABELER)
    return user
