"""A reward model's held-out result by labeler, joined by the house with what learning tells of lines alone."""

from __future__ import annotations

from typing import Any

import pytest

from labeling.domain.people import add_member
from labeling.models import User
from rlhf.contract.records import write_rows
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.labeler_hits import count_by_labeler, list_labeler_slices, read_agreed
from rlhf.models import DatasetSource
from tests.rlhf.conftest import make_run
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project, labeler):
    """Leo judged forty pairs, noa forty others; both are in the test split of one dataset."""
    noa = User.objects.create_user("noa")
    add_member(project, noa, role="labeler")
    for judge, n_pairs in ((labeler, 40), (noa, 80)):  # of which the first half is there already
        add_pairs(project, n_pairs)
        judge_all(project, judge, preference=-2)
    dataset = freeze_preferences(project, rule=FreezeRule(), name="all")
    return make_run(project, kind="reward", state="succeeded", dataset=dataset)


def lines_of(run, name: str) -> list[int]:
    judged = DatasetSource.objects.filter(dataset=run.dataset, split="test", judgment__labeler__username=name)
    return sorted(judged.values_list("line", flat=True))


def tell(run, tmp_path, hits: dict[int, float]) -> list[dict[str, Any]]:
    write_rows(tmp_path / "hits.jsonl", [{"line": line, "hit": hit} for line, hit in hits.items()])
    run.result = count_by_labeler(run, tmp_path)
    return list_labeler_slices(run)


def test_each_labeler_has_the_accuracy_of_the_pairs_she_judged(run, tmp_path):
    leos, noas = lines_of(run, "leo"), lines_of(run, "noa")
    assert len(leos) >= 2
    assert len(noas) >= 2
    hits = dict.fromkeys(leos, 1.0) | dict.fromkeys(noas, 0.0) | {noas[0]: 0.5}

    slices = tell(run, tmp_path, hits)

    found = [(row["slice"], row["n"], row["accuracy"]) for row in slices]
    assert found == [("judged by leo", len(leos), 1.0), ("judged by noa", len(noas), 0.5 / len(noas))]
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in slices)


def test_a_line_that_was_too_long_to_read_counts_for_nobody(run, tmp_path):
    others = lines_of(run, "leo")[1:]

    slices = tell(run, tmp_path, dict.fromkeys(others, 1.0))

    assert [(row["slice"], row["n"]) for row in slices] == [("judged by leo", len(others))]


def test_the_result_keeps_a_sign_for_each_line_and_none_where_it_was_not_measured(run, tmp_path):
    tell(run, tmp_path, hits := {1: 1.0, 2: 0.5, 4: 0.0})

    assert run.result["agreed"] == "1h-0"
    assert read_agreed(run) == hits
    assert read_agreed(make_run(run.project, kind="reward", state="succeeded")) is None


def test_the_result_keeps_no_names(run, tmp_path):
    tell(run, tmp_path, dict.fromkeys(lines_of(run, "leo"), 1.0))
    User.objects.filter(username="leo").update(username="leopold")

    assert "leo" not in str(run.result)
    assert [row["slice"] for row in list_labeler_slices(run)] == ["judged by leopold"]


def test_a_run_that_tells_of_no_lines_adds_nothing(run, tmp_path):
    assert count_by_labeler(run, tmp_path) == {}
    assert list_labeler_slices(run) == []
