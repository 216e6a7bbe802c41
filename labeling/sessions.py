"""Sessions in the database, as Django keeps them; that of a request, and whose it is, are read on one trip."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from labeling.accounts import list_users
from labeling.models import User
from labeling.statements import compiled

MOST_KNOWN = 10_000
_owners: dict[str, int] = {}  # by session key, as it was last time: a guess which row to read, never who somebody is


class SessionStore(db.SessionStore):
    """Of the same name as Django's, which goes into the signature: sessions of before stay good."""

    read_owner: Callable[[], list[User]] = list

    def _get_session_from_db(self) -> Session | None:
        if owner := _owners.get(self.session_key):
            self.read_owner = list_users.later(owner)
        for session in list_sessions(self.session_key, timezone.now()):
            return session
        self._session_key = None
        return None

    def decode(self, session_data: str) -> dict[str, Any]:
        """Read what is signed; the same text, from one request to the next, is the same data."""
        return copy.deepcopy(read_signed(session_data))


def find_user(request: HttpRequest) -> User | AnonymousUser:
    """Return whom the request's session belongs to: who came along with it where nothing is wrong, else as Django finds."""
    session: Any = request.session
    if owner := find_owner(session):
        request._cached_user = owner  # type: ignore[attr-defined]
        return owner
    found: User | AnonymousUser = get_user(request)
    if found.is_authenticated:
        remember_owner(session.session_key, found.pk)
    return found


def find_owner(session: Any) -> User | None:
    """Return who came along with a session, if it is hers without doubt; None says nothing, and nothing is changed."""
    said = [session.get(name) for name in (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)]
    owners: list[User] = session.read_owner()
    return next((owner for owner in owners if owner.is_active and is_hers(owner, *said)), None)


def is_hers(user: User, key: Any, backend: Any, seal: Any) -> bool:
    """Say whether a session that says this is the user's, under her password of today."""
    is_known = key == str(user.pk) and backend in settings.AUTHENTICATION_BACKENDS
    return is_known and constant_time_compare(seal or "", user.get_session_auth_hash())


def remember_owner(session_key: str, user: int) -> None:
    if len(_owners) >= MOST_KNOWN:
        _owners.clear()
    _owners[session_key] = user


@lru_cache(maxsize=1_000)
def read_signed(session_data: str) -> dict[str, Any]:
    return db.SessionStore().decode(session_data)


@compiled
def list_sessions(key: Any, now: Any) -> QuerySet[Session]:
    return Session.objects.filter(session_key=key, expire_date__gt=now)
