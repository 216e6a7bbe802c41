"""A run is told how probably each held-out pair was asked about, and which of them nobody drew by chance."""

from __future__ import annotations

import pytest

from labeling.models import Comparison
from rlhf.contract.records import read_rows
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.propensities import write_propensities
from rlhf.models import DatasetSource
from tests.rlhf.conftest import make_run
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def comparisons(project, labeler):
    """Sixty judged pairs."""
    add_pairs(project, 60)
    judge_all(project, labeler, preference=-2)
    return Comparison.objects.order_by("pk")


def tell(project, folder):
    """Freeze what was judged; return what is told of it by comparison, None where nothing is told."""
    dataset = freeze_preferences(project, rule=FreezeRule(), name="all")
    behind = dict(DatasetSource.objects.filter(dataset=dataset, split="test").values_list("line", "comparison"))
    assert len(behind) >= 5
    write_propensities(make_run(project, kind="reward", dataset=dataset), folder)
    path = folder / "propensities.jsonl"
    return {behind[row["line"]]: row["propensity"] for row in read_rows(path)} if path.exists() else None, behind


def test_every_held_out_pair_has_the_propensity_it_was_proposed_with(project, comparisons, tmp_path):
    for number, comparison in enumerate(comparisons):
        Comparison.objects.filter(pk=comparison.pk).update(propensity=1 / (number + 1))

    told, behind = tell(project, tmp_path)

    assert told == dict(Comparison.objects.filter(pk__in=behind.values()).values_list("pk", "propensity"))


def test_pairs_that_a_strategy_picked_for_certain_are_left_out(project, comparisons, tmp_path):
    comparisons.update(propensity=0.5)
    Comparison.objects.filter(pk__in=[pair.pk for pair in comparisons[::2]]).update(reason="active", propensity=1.0)

    told, behind = tell(project, tmp_path)

    by_chance = Comparison.objects.filter(pk__in=behind.values(), reason="random")
    assert told == dict.fromkeys(by_chance.values_list("pk", flat=True), 0.5)
    assert 0 < len(told) < len(behind)


def test_pairs_that_all_weigh_alike_need_no_weights(project, comparisons, tmp_path):
    told, _ = tell(project, tmp_path)

    assert told is None
