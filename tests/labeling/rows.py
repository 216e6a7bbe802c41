"""What tests of labeling put on the table: pairs, claims, votes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from labeling.domain.assignment import claim_slot
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.pairing import add_prompt, propose_comparison
from labeling.domain.revising import revise_judgment
from labeling.models import AuditEvent, Comparison, Judgment, Project, Slot, User


def add_pair(project: Project, question: str = "How do I boil an egg?", **changes: Any) -> Comparison:
    """Queue one pair; the left text of a straight slot is A's."""
    text_a = changes.pop("text_a", f"A: {question}")
    text_b = changes.pop("text_b", f"B: {question}")
    prompt = add_prompt(project, [{"role": "user", "content": question}])
    return propose_comparison(prompt, text_a, text_b, **changes)


def add_pairs(project: Project, n: int, **changes: Any) -> list[Comparison]:
    return [add_pair(project, f"question {number}", **changes) for number in range(n)]


def judge(slot: Slot, labeler: User, preference: int = -2, **changes: Any) -> Judgment:
    """Vote on a slot as its form would: changes of the vote, the key or the token."""
    key = changes.pop("idempotency_key", None) or uuid.uuid4()
    token = changes.pop("lease_token", slot.lease_token)
    shown_at = changes.pop("shown_at", None)
    vote = Vote(preference=preference, **changes)
    return record_judgment(slot.pk, labeler, idempotency_key=key, lease_token=token, vote=vote, shown_at=shown_at)


def revise(judgment: Judgment, labeler: User, preference: int = -2, **changes: Any) -> Judgment:
    """Change a vote as its form would."""
    key = changes.pop("idempotency_key", None) or uuid.uuid4()
    vote = Vote(preference=preference, **changes)
    return revise_judgment(judgment, labeler, idempotency_key=key, vote=vote)


def shown_before(slot: Slot, seconds: float) -> Slot:
    """Let the server have shown a slot so long ago."""
    Slot.objects.filter(pk=slot.pk).update(shown_at=timezone.now() - timedelta(seconds=seconds))
    return slot


def claim(project: Project, labeler: User) -> Slot:
    slot = claim_slot(project, labeler)
    assert slot, "nothing to claim"
    return slot


def expire(slot: Slot) -> None:
    """Let a lease run out."""
    Slot.objects.filter(pk=slot.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def trail() -> QuerySet[AuditEvent]:
    """The audit trail but for how the cast joined."""
    return AuditEvent.objects.exclude(verb="member.add")


def run_together(*acts: Callable[[], Any]) -> list[Any]:
    """Run every act in a thread and connection of its own, all at once; return results or errors in order."""
    barrier = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def perform(number: int, act: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[number] = act()
        except Exception as error:  # noqa: BLE001 -- the test judges what came of it
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=perform, args=(number, act)) for number, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
