"""An annotator of the harbour, and pairs it is asked about."""

from __future__ import annotations

import uuid

import pytest

from labeling.domain.assignment import claim_slot
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Comparison, Project, User
from rlhf.domain.feedback import routing
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from rlhf.models import AIJudgment, Annotator


@pytest.fixture
def annotator(project: Project) -> Annotator:
    return add_clara(project)


@pytest.fixture
def no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing by chance of what an annotator is sure of: the draw depends on a comparison's id."""
    monkeypatch.setattr(routing, "AUDIT_SHARE", 0.0)


def add_clara(project: Project) -> Annotator:
    write_constitution(project, STARTER)
    return add_annotator(project, "clara", endpoint="http://127.0.0.1:9/v1", model="m")


def add_pairs(project: Project, n: int, *, overlap: int = 1) -> list[Comparison]:
    """Queue n pairs: the kind answer, and a rude one that is longer."""
    pairs = [
        Pair(
            messages=[{"role": "user", "content": f"May I come in, {number}?"}],
            text_a=f"Yes, please, {number}.",
            text_b=f"Go away from here at once, {number}.",
            overlap=overlap,
        )
        for number in range(n)
    ]
    return propose_comparisons(project, pairs)


def judge_all(project: Project, labeler: User, *, preference: int) -> int:
    """Let her say the same strength of A against B, in contents, of everything she is given."""
    n = 0
    while slot := claim_slot(project, labeler):
        record_judgment(
            slot.pk,
            labeler,
            idempotency_key=uuid.uuid4(),
            lease_token=slot.lease_token,
            vote=Vote(preference=preference if slot.a_shown_left else -preference),
        )
        n += 1
    return n


def judge_and_ask(project: Project, annotator: Annotator, labeler: User) -> None:
    """She prefers the kind answer to 40 prompts; the annotator, which has passed its exam, the rude one to 80."""
    Annotator.objects.filter(pk=annotator.pk).update(exam="passed")
    add_pairs(project, 40)
    judge_all(project, labeler, preference=-2)
    for pair in add_pairs(project, 80):
        AIJudgment.objects.create(annotator=annotator, comparison=pair, p=0.05, p_ab=0.05, p_ba=0.05)
