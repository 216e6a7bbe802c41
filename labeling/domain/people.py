"""Accounts and memberships."""

from __future__ import annotations

import os
import secrets

from labeling.models import Membership, Project, User


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


def add_member(project: Project, user: User, *, role: str) -> Membership:
    """Give the user a role in the project, replacing the one she had."""
    return Membership.objects.update_or_create(project=project, user=user, defaults={"role": role, "is_active": True})[
        0
    ]


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
