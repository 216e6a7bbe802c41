"""The audit trail: who changed what, when, from what, to what."""

from __future__ import annotations

from typing import Any

from labeling.models import AuditEvent, Project, User


def record_event(
    verb: str,
    subject: object,
    *,
    actor: User | None,
    project: Project | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEvent:
    """Store one line of the trail, in the transaction of the change itself; actor None is the house."""
    return AuditEvent.objects.create(
        verb=verb, subject=str(subject)[:200], actor=actor, project=project, before=before or {}, after=after or {}
    )
