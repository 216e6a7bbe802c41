from __future__ import annotations

from itertools import pairwise

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain.people import add_member
from labeling.models import User, Verdict
from tests.rlhf.conftest import make_checkpoint
from tests.rlhf.domain.test_win_rate import make_meeting, vote

pytestmark = pytest.mark.django_db
URL = "/checkpoints/standings/"


@pytest.fixture
def people(project):
    user = User.objects.create_user("ann")
    add_member(project, user, role="labeler")
    return user


def compare(project, people, names, *, wins=15, losses=5):
    """Each beats the one before it."""
    made = [make_checkpoint(project, name=name) for name in names]
    for old, new in pairwise(made):
        for number in range(wins + losses):
            vote(make_meeting(new, old), people, Verdict.A if number < wins else Verdict.B)
    return made


def test_it_tells_who_wins_against_whom_with_intervals(as_manager, project, people):
    compare(project, people, ["sft", "dpo", "ppo"])

    page = as_manager.get(URL).content.decode()

    assert page.index(">ppo<") < page.index(">dpo<")
    assert "40 votes on 40 comparisons between checkpoints of Harbour" in page
    assert '<td class="number">75%</td>' in page
    assert "what the others are measured against" in page
    assert "What models say" not in page


def test_it_can_be_told_against_another(as_manager, project, people):
    _, dpo, _ = compare(project, people, ["sft", "dpo", "ppo"])

    page = as_manager.get(URL, {"project": "harbour", "against": dpo.pk}).content.decode()

    assert f'how often it would win against <a href="{dpo.get_absolute_url()}">dpo</a>' in page
    assert '<td class="number">25%</td>' in page


def test_without_votes_it_says_where_they_come_from(as_manager, project):
    checkpoint = make_checkpoint(project, name="lonely")

    assert "Nobody has compared two checkpoints yet" in as_manager.get(URL).content.decode()
    page = as_manager.get(URL, {"against": checkpoint.pk}).content.decode()
    assert "No vote on lonely yet" in page


def test_few_votes_are_marked(as_manager, project, people):
    compare(project, people, ["sft", "dpo"], wins=3, losses=0)

    assert "few votes" in as_manager.get(URL).content.decode()


def test_labelers_and_strangers_learn_nothing_of_it(as_labeler, as_stranger, project, people):
    sft, _ = compare(project, people, ["sft", "dpo"])

    assert as_labeler.get(URL).status_code == 404
    assert "dpo" not in as_stranger.get(URL).content.decode()
    assert as_stranger.get(URL, {"project": "harbour"}).status_code == 404
    assert as_stranger.get(URL, {"against": sft.pk}).status_code == 404


def test_the_queries_do_not_grow_with_the_checkpoints(as_manager, project, people):
    compare(project, people, ["a", "b"], wins=2, losses=1)
    before = count_queries(as_manager)
    compare(project, people, ["c", "d", "e", "f"], wins=2, losses=1)

    assert count_queries(as_manager) == before


def count_queries(client):
    cache.clear()
    with CaptureQueriesContext(connection) as captured:
        client.get(URL)
    return len(captured)
