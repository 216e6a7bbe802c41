"""What the demo project measures itself with is apart from what it learns from."""

from __future__ import annotations

import pytest

from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.datasets.split import TEST, TRAIN
from rlhf.domain.demo import (
    freeze_world,
    hold_out_demonstrations,
    make_project,
    run_settings,
    seed_demo,
    set_rounds,
)
from rlhf.domain.evaluation import with_measures
from rlhf.domain.terms import get_loop
from rlhf.domain.tuning import check_settings
from rlhf.models import Dataset
from rlhf.world import recipe
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


def test_ppo_learns_to_write_the_world_s_texts_beside_where_a_gate_asks_what_it_forgot():
    project = seed_demo()

    taxed = set_rounds(get_loop(project), 3, n=300, method="ppo", gate="people").settings
    untaxed = set_rounds(get_loop(project), 3, n=300, gate="open").settings

    texts = Dataset.objects.get(kind="text")
    assert taxed["ppo"] == run_settings()["ppo"] | {"ptx_coef": recipe.PTX_COEF, "ptx_dataset": texts.pk}
    assert untaxed == run_settings()
    check_settings(project, taxed)


@pytest.mark.parametrize(
    ("method", "gate", "average_weight", "previous_share"),
    [
        ("ppo", "people", recipe.AVERAGE_WEIGHT, recipe.DUEL_SHARE),
        ("ppo", "figures", recipe.AVERAGE_WEIGHT, 0.2),
        ("ppo", "open", 0.0, 0.2),
        ("dpo", "people", 0.0, recipe.DUEL_SHARE),
    ],
)
def test_weights_are_averaged_where_a_gate_asks_what_ppo_forgot_and_people_judge_more_duels_where_they_decide(
    method, gate, average_weight, previous_share
):
    loop = get_loop(seed_demo())

    set_rounds(loop, 3, n=300, method=method, gate=gate)

    loop.refresh_from_db()
    assert (loop.method, loop.gate) == (method, gate)
    assert (loop.average_weight, loop.previous_share) == (average_weight, previous_share)
    assert (loop.threshold, loop.n_pairs, loop.max_rounds) == (300, 330, 3)


def test_what_is_not_named_of_the_demo_s_rounds_stays_as_it_was():
    loop = get_loop(make_project())
    loop.average_weight, loop.previous_share = 0.3, 0.4

    set_rounds(loop, 1, n=50)

    loop.refresh_from_db()
    assert (loop.method, loop.gate, loop.rule) == ("dpo", "open", {})
    assert (loop.average_weight, loop.previous_share) == (0.3, 0.4)


def read_prompts(demonstrations: Dataset, split: str) -> set[str]:
    return {str(row["messages"][:-1]) for row in open_split(demonstrations, split)}
