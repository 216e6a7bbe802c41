"""Of a crowd a tenth press anything and a fifth say the opposite: weighing labelers mends what a majority does not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Judgment, Membership, Project, User
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.models import Dataset, DatasetSource
from tests.labeling.crowds import INVERTED, RANDOM, answer, build_judgment, draw_crowd, draw_kinds
from tests.rlhf.domain.datasets.test_freezing import pairs, project, storage

__all__ = ["project", "storage"]

pytestmark = [pytest.mark.django_db, pytest.mark.database]

N_LABELERS, N_ITEMS = 40, 400
KINDS = draw_kinds(N_LABELERS, shares={RANDOM: 0.1, INVERTED: 0.2})
KEEN = KINDS.index(INVERTED)


def store_crowd(project: Project, *, seed: int, keen: int | None = None) -> dict[str, int]:
    """Store three votes a pair, drawn evenly of all labelers, and one on each by the keen one; return what is right."""
    rng = np.random.default_rng(seed)
    users = User.objects.bulk_create(User(username=f"crowd{number}") for number in range(N_LABELERS))
    Membership.objects.bulk_create(Membership(project=project, user=user) for user in users)
    items, who, strengths, truth = draw_crowd(KINDS, rng, n_items=N_ITEMS, overlap=3)
    votes = dict(zip(zip(items.tolist(), who.tolist(), strict=True), strengths.tolist(), strict=True))
    if keen is not None:
        said = answer(KINDS[keen], truth, rng).tolist()
        votes = {(item, keen): said[item] for item in range(N_ITEMS)} | votes
    queued = [
        Pair(messages=[{"role": "user", "content": f"question {n}"}], text_a=f"a {n}", text_b=f"b {n}", overlap=1)
        for n in range(N_ITEMS)
    ]
    comparisons = propose_comparisons(project, queued)
    Judgment.objects.bulk_create(
        build_judgment(comparisons[item], users[labeler], strength, item, labeler, {})
        for (item, labeler), strength in votes.items()
    )
    return {f"question {number}": int(right) for number, right in enumerate(truth)}


def freeze(project: Project, **changes: Any) -> Dataset:
    return freeze_preferences(project, rule=FreezeRule(**changes), name="d")


def measure_accuracy(dataset: Dataset, truth: dict[str, int]) -> float:
    """Share of right labels; a comparison without a pair is half right."""
    right = {
        question: chosen.startswith("a") == (truth[question] < 0) for question, (chosen, _) in pairs(dataset).items()
    }
    return (sum(right.values()) + (len(truth) - len(right)) / 2) / len(truth)


def largest_share(dataset: Dataset) -> float:
    counts = Counter(DatasetSource.objects.filter(dataset=dataset).values_list("judgment__labeler", flat=True))
    return max(counts.values()) / counts.total()


def test_weighing_labelers_mends_a_crowd_that_a_majority_does_not(project: Project) -> None:
    truth = store_crowd(project, seed=1)

    majority, weighed = freeze(project), freeze(project, consensus="dawid_skene")

    assert measure_accuracy(weighed, truth) - measure_accuracy(majority, truth) >= 0.10  # 0.79 to 0.96


def test_it_does_within_a_cap_too_though_the_keenest_of_all_says_the_opposite(project: Project) -> None:
    truth = store_crowd(project, seed=1, keen=KEEN)

    majority, weighed, capped = (
        freeze(project),
        freeze(project, consensus="dawid_skene"),
        freeze(project, consensus="dawid_skene", labeler_share_max=0.1),
    )

    assert largest_share(weighed) > 0.2
    assert largest_share(capped) <= 0.1
    assert measure_accuracy(capped, truth) - measure_accuracy(majority, truth) >= 0.10
