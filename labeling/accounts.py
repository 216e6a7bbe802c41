"""How people come in: nobody signs up alone, a manager or the command line makes the account."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.backends import ModelBackend
from django.db.models import QuerySet
from django.http import HttpRequest

from labeling.models import User
from labeling.statements import compiled


class PasswordBackend(ModelBackend):
    """Django's own; whom a session belongs to, which every request asks, is read by a compiled statement."""

    def get_user(self, user_id: Any) -> User | None:
        return next((user for user in list_users(user_id) if self.user_can_authenticate(user)), None)


@compiled
def list_users(pk: Any) -> QuerySet[User]:
    return User.objects.filter(pk=pk)


class ClosedSignup(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
