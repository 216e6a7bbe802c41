"""What a labeler does to the reward model: two models on the same held-out pairs, side by side."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage

from labeling.domain.people import add_member
from labeling.models import User
from rlhf.contract.records import write_rows
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.labeler_hits import count_by_labeler
from rlhf.domain.without import Share, hash_row, measure_difference, measure_effect
from tests.rlhf.conftest import make_run, message
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def noa(project):
    user = User.objects.create_user("noa")
    add_member(project, user, role="labeler")
    return user


@pytest.fixture
def pairs(project, labeler, noa):
    """Leo judged sixty pairs, noa twenty others."""
    add_pairs(project, 60)
    judge_all(project, labeler, preference=-2)
    add_pairs(project, 80)
    judge_all(project, noa, preference=-2)


def train(project, tmp_path, hit, *, without=()):
    """Train a reward model that agrees with what `hit` says of a held-out row."""
    rule = FreezeRule(test_share=0.5, exclude_labelers=without)
    dataset = freeze_preferences(project, rule=rule, name="d")
    run = make_run(project, kind="reward", state="succeeded", dataset=dataset)
    hits = [{"line": line, "hit": hit(row)} for line, row in enumerate(open_split(dataset, "test"), 1)]
    write_rows(tmp_path / "hits.jsonl", hits)
    n = len(hits)
    run.result = {"eval_accuracy": sum(row["hit"] for row in hits) / n, "n_test": n, "n_test_ties": 0}
    run.result |= count_by_labeler(run, tmp_path)
    run.save()
    return run


def draw(row) -> int:
    return int(hash_row(row)[:4], 16)


def test_nobody_learned_from_her_and_there_is_no_effect(project, labeler, noa, tmp_path):
    add_pairs(project, 8)
    judge_all(project, labeler, preference=-2)
    train(project, tmp_path, lambda row: 1.0)

    assert measure_effect(project, noa) is None


def test_before_a_rebuild_her_pairs_stand_against_all(project, pairs, noa, tmp_path):
    run = train(project, tmp_path, lambda row: float(draw(row) % 3 > 0))

    effect = measure_effect(project, noa)

    (hers,) = [row for row in run.result["labelers"] if row["labeler"] == noa.pk]
    assert (effect.learned, effect.rebuilt, effect.difference) == (run, None, None)
    assert effect.hers == Share(hers["hits"], hers["n"])
    assert effect.everyone.n == run.dataset.n_test > effect.hers.n > 0
    assert effect.everyone.hits == pytest.approx(run.result["agreed"].count("1"))


def test_after_it_both_models_stand_side_by_side_on_the_pairs_both_have(project, pairs, noa, tmp_path):
    learned = train(project, tmp_path, lambda row: float(draw(row) % 2))
    rebuilt = train(project, tmp_path, lambda row: 1.0, without=("noa",))

    effect = measure_effect(project, noa)

    same = {hash_row(row): draw(row) % 2 for row in open_split(rebuilt.dataset, "test")}
    apart = [row for row in open_split(learned.dataset, "test") if hash_row(row) not in same]
    assert (effect.learned, effect.rebuilt) == (learned, rebuilt)
    assert (effect.before, effect.after) == (Share(sum(same.values()), len(same)), Share(len(same), len(same)))
    assert effect.n_apart == len(apart) > 0
    assert effect.difference.value == pytest.approx(effect.after.value - effect.before.value)
    assert effect.difference.is_sure


def test_what_else_was_set_otherwise_is_said(project, pairs, noa, tmp_path):
    train(project, tmp_path, lambda row: 1.0)
    rebuilt = train(project, tmp_path, lambda row: 1.0, without=("noa",))
    rebuilt.config |= {"seed": 7, "epochs": 99}
    rebuilt.save()

    assert list(measure_effect(project, noa).settings) == ["epochs"]


def test_a_run_of_before_pairs_were_kept_cannot_be_compared(project, pairs, noa, tmp_path):
    old = train(project, tmp_path, lambda row: 1.0)
    train(project, tmp_path, lambda row: 1.0, without=("noa",))
    del old.result["agreed"]
    old.save()

    effect = measure_effect(project, noa)

    assert (effect.difference, effect.reason) == (None, f"{old} did not keep which pairs it agrees with")
    assert effect.everyone.n == old.dataset.n_test


def test_damaged_pairs_are_a_reason_and_no_crash(project, pairs, noa, tmp_path):
    train(project, tmp_path, lambda row: 1.0)
    rebuilt = train(project, tmp_path, lambda row: 1.0, without=("noa",))
    with default_storage.open(rebuilt.dataset.file_name("test"), "wb") as file:
        file.write(b"{}\n")

    assert "does not match its hash" in measure_effect(project, noa).reason


def test_a_pair_under_another_label_is_another_pair():
    row = {
        "prompt": [message("How deep?")],
        "chosen": [message("deep")],
        "rejected": [message("flat")],
        "source": "own",
    }

    assert hash_row(row) == hash_row(row | {"source": "own + imported:s"})
    assert hash_row(row) != hash_row(row | {"chosen": row["rejected"], "rejected": row["chosen"]})


def test_once_a_newer_model_learns_from_her_again_the_comparison_is_over(project, pairs, noa, tmp_path):
    train(project, tmp_path, lambda row: 1.0)
    train(project, tmp_path, lambda row: 1.0, without=("noa",))
    again = train(project, tmp_path, lambda row: 1.0)

    effect = measure_effect(project, noa)

    assert (effect.learned, effect.rebuilt) == (again, None)


@pytest.mark.parametrize(
    ("gained", "lost", "same", "low", "high"),
    [(0, 0, 100, -0.0192, 0.0192), (20, 5, 75, 0.0533, 0.2408), (5, 5, 90, -0.0637, 0.0637), (1, 0, 0, -0.5101, 1.0)],
)
def test_the_interval_of_a_difference_is_that_of_matched_rows(gained, lost, same, low, high):
    found = measure_difference([(0, 1)] * gained + [(1, 0)] * lost + [(1, 1)] * same)

    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found.value == (gained - lost) / (gained + lost + same)
