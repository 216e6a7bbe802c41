"""People change their minds while a dataset is frozen: each change is in it, or refused."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from labeling.domain.errors import AlreadyFrozen
from labeling.domain.judging import Vote
from labeling.domain.revising import revise_judgment
from labeling.models import Fix, Judgment, Project, User
from rlhf.domain.datasets.completions import freeze_demonstrations
from rlhf.domain.datasets.freezing import freeze_preferences, seal_counted
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import EmptyDataset
from rlhf.models import Dataset
from tests.labeling.rows import run_together
from tests.rlhf.domain.datasets.test_freezing import compare, judge, labelers, project, storage

__all__ = ["labelers", "project", "storage"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

N_PAIRS = 30
FIX = "how it should have been said"


def change_mind(judgment: Judgment, labeler: User, *, fix: str = "") -> str:
    try:
        revise_judgment(judgment, labeler, idempotency_key=uuid.uuid4(), vote=Vote(preference=-1, fix=fix))
    except AlreadyFrozen:
        return "refused"
    return "changed"


def change_minds(judgments: list[Judgment], labeler: User, pause_s: float, fix: str = "") -> Callable[[], list[str]]:
    def change() -> list[str]:
        said = []
        for number, judgment in enumerate(judgments):
            said.append(change_mind(judgment, labeler, fix=fix and f"{fix} {number}"))
            time.sleep(pause_s)
        return said

    return change


def list_overtaken(dataset: Dataset) -> list[int]:
    """Return the judgments behind a dataset that were revised all the same."""
    counted = dataset.sources.exclude(judgment=None).values("judgment")
    return list(Judgment.objects.filter(revises__in=counted).values_list("revises", flat=True))


@pytest.mark.parametrize("pause_s", [0.0, 0.002, 0.01])
def test_a_vote_changed_during_a_freeze_is_in_it_or_refused(
    project: Project, labelers: list[User], pause_s: float
) -> None:
    judgments = [judge(compare(project, number), labelers[0], -1) for number in range(N_PAIRS)]

    dataset, answers = run_together(
        lambda: freeze_preferences(project, rule=FreezeRule(), name="d"), change_minds(judgments, labelers[0], pause_s)
    )

    assert list_overtaken(dataset) == []
    assert answers.count("changed") == Judgment.objects.exclude(revises=None).count()
    assert set(dataset.sources.values_list("judgment", flat=True)) == set(
        Judgment.objects.current().values_list("pk", flat=True)
    )
    assert [change_mind(judgment, labelers[0]) for judgment in Judgment.objects.current()] == ["refused"] * N_PAIRS


def test_a_fix_changed_during_a_freeze_of_demonstrations_is_in_it_or_refused(
    project: Project, labelers: list[User]
) -> None:
    Project.objects.filter(pk=project.pk).update(asks_fixes=True)
    judgments = [judge(compare(project, number), labelers[0], -1) for number in range(N_PAIRS)]
    change_minds(judgments, labelers[0], 0.0, FIX)()
    judgments = list(Judgment.objects.current().order_by("id"))
    assert Fix.objects.count() == N_PAIRS

    dataset, answers = run_together(
        lambda: freeze_demonstrations(project, name="d"), change_minds(judgments, labelers[0], 0.003, FIX + "!")
    )

    assert list_overtaken(dataset) == []
    assert set(answers) <= {"changed", "refused"}


def test_sealing_waits_for_a_change_under_way_and_finds_it(project: Project, labelers: list[User]) -> None:
    judgment = judge(compare(project, 0), labelers[0], -1)
    is_under_way = threading.Event()

    def change_slowly() -> str:
        with transaction.atomic():
            said = change_mind(judgment, labelers[0])
            is_under_way.set()
            time.sleep(0.2)
        return said

    def seal() -> bool:
        is_under_way.wait()
        return seal_counted(project, {judgment.pk})

    assert run_together(change_slowly, seal) == ["changed", False]
    assert seal_counted(project, {Judgment.objects.current().get().pk})


def test_a_freeze_that_finds_nothing_seals_nothing(project: Project, labelers: list[User]) -> None:
    judgment = judge(compare(project, 0), labelers[0], 0)

    with pytest.raises(EmptyDataset):
        freeze_preferences(project, rule=FreezeRule(), name="d")

    assert change_mind(judgment, labelers[0]) == "changed"


def test_a_freeze_up_to_a_judgment_takes_what_was_said_then_though_it_was_changed_later(
    project: Project, labelers: list[User]
) -> None:
    first = judge(compare(project, 0), labelers[0], -1)
    assert change_mind(first, labelers[0]) == "changed"

    dataset: Any = freeze_preferences(project, rule=FreezeRule(upto=first.pk), name="d")

    assert list(dataset.sources.values_list("judgment", flat=True)) == [first.pk]
