"""Sessions in the database, as Django keeps them; the one of each request is read by a compiled statement."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from labeling.statements import compiled


class SessionStore(db.SessionStore):
    """Of the same name as Django's, which goes into the signature: sessions of before stay good."""

    def _get_session_from_db(self) -> Session | None:
        for session in list_sessions(self.session_key, timezone.now()):
            return session
        self._session_key = None
        return None

    def decode(self, session_data: str) -> dict[str, Any]:
        """Read what is signed; the same text, from one request to the next, is the same data."""
        return copy.deepcopy(read_signed(session_data))


@lru_cache(maxsize=1_000)
def read_signed(session_data: str) -> dict[str, Any]:
    return db.SessionStore().decode(session_data)


@compiled
def list_sessions(key: Any, now: Any) -> QuerySet[Session]:
    return Session.objects.filter(session_key=key, expire_date__gt=now)
