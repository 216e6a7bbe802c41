"""What the demo project measures itself with is apart from what it learns from."""

from __future__ import annotations

import pytest

from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.demo import freeze_world, hold_out_demonstrations, make_project
from rlhf.domain.evaluation import with_measures
from rlhf.models import Dataset
from rlhf.world.judge import gold_score

pytestmark = pytest.mark.django_db


def test_the_demo_s_evaluations_read_text_and_demonstrations_that_nothing_learned_from():
    project = make_project()
    freeze_world(project)

    measured = with_measures(project, EvaluateConfig())

    texts, shown = (Dataset.objects.get(pk=pk) for pk in (measured.texts, measured.demonstrations))
    assert (texts.kind, shown.kind) == ("text", "demonstration")
    assert texts.n_test >= measured.n_texts
    assert shown.n_test == measured.n_texts
    assert not read_prompts(shown, TRAIN) & read_prompts(shown, TEST)


def test_the_demonstrations_that_are_held_out_are_as_good_as_they_can_be():
    scores = [gold_score(turns[:-1], turns[-1]["content"]) for turns in hold_out_demonstrations()]

    assert {score.correctness for score in scores} == {score.finished for score in scores} == {1.0}
    assert min(score.politeness for score in scores) >= 0


def read_prompts(demonstrations: Dataset, split: str) -> set[str]:
    return {str(row["messages"][:-1]) for row in open_split(demonstrations, split)}
