from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rlhf.models import Run
from tests.rlhf.conftest import judge, make_checkpoint, make_comparison
from tests.rlhf.domain.test_board import score

pytestmark = pytest.mark.django_db
PAGE = "/checkpoints/board/"


def test_without_a_reward_model_it_says_where_one_comes_from(as_manager, project):
    assert "No reward model yet" in as_manager.get(PAGE).content.decode()
    assert as_manager.post(f"{PAGE}harbour/scores/").status_code == 404


def test_the_share_comes_with_its_interval_and_how_many_votes(as_manager, project, labeler):
    reward_model = make_checkpoint(project, kind="reward", name="judge")
    for margin in (1.0, 1.0, -1.0, 1.0):
        pair = make_comparison(project)
        judge(pair, labeler)
        score(reward_model, pair, margin)

    page = as_manager.get(f"{PAGE}?project=harbour").content.decode()

    assert '<strong class="number">75.0%</strong> of <span class="number">4</span> votes' in page
    assert "(95% interval 30.1% to 95.4%)" in page
    assert "Score them" not in page


def test_missing_scores_are_asked_for_once(as_manager, project, labeler):
    make_checkpoint(project, kind="reward", name="judge")
    judge(make_comparison(project), labeler)
    assert "Score them" in as_manager.get(PAGE).content.decode()

    answer = as_manager.post(f"{PAGE}harbour/scores/")

    assert (answer.url, Run.objects.get().kind) == (f"{PAGE}?project=harbour", "score")


def test_it_is_not_there_for_labelers_and_strangers(as_labeler, as_stranger, project):
    assert as_labeler.get(PAGE).status_code == 404
    assert as_stranger.get(f"{PAGE}?project=harbour").status_code == 404
    assert as_stranger.post(f"{PAGE}harbour/scores/").status_code == 404


def test_more_labelers_cost_no_more_queries(as_manager, project, labeler, django_assert_num_queries):
    reward_model = make_checkpoint(project, kind="reward", name="judge")
    for _ in range(2):
        pair = make_comparison(project)
        judge(pair, labeler)
        score(reward_model, pair, 1.0)
    with CaptureQueriesContext(connection) as queries:
        as_manager.get(PAGE)
    for _ in range(3):
        judge(make_comparison(project), labeler)

    with django_assert_num_queries(len(queries)):
        as_manager.get(PAGE)
