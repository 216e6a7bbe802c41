"""A change of a loop's settings: kept in the trail, and heeded by the queue."""

from __future__ import annotations

from typing import Any

from labeling.domain.audit import record_event
from labeling.models import User
from rlhf.domain.supply import raise_supply
from rlhf.domain.terms import freeze_terms
from rlhf.models import Loop


def read_settings(loop: Loop) -> dict[str, Any]:
    """Return what people may set of a loop, as JSON has it."""
    return {**freeze_terms(loop).to_json(), "max_rounds": loop.max_rounds}


def record_settings(loop: Loop, before: dict[str, Any], *, user: User | None) -> None:
    """Keep in the audit trail which settings of a loop have changed, and let the queue heed another slice.

    before: what `read_settings` said of it.
    """
    after = read_settings(loop)
    changed = [name for name in after if after[name] != before[name]]
    if changed:
        facts = {name: before[name] for name in changed}, {name: after[name] for name in changed}
        record_event("loop.edit", str(loop), actor=user, project=loop.project, before=facts[0], after=facts[1])
    if "slice_id" in changed:
        raise_supply(loop.project)
