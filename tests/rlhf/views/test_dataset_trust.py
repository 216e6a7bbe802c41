"""Whose votes a freeze would count is shown before it: who is flagged and why, who has most, how to leave them out."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.core.cache import cache

from labeling.domain import quality_report
from labeling.domain.people import add_member
from labeling.models import Judgment, Membership, User
from rlhf.models import Dataset, DatasetSource
from rlhf.views import dataset_trust
from tests.labeling.crowds import INVERTED, draw_kinds, store_votes
from tests.rlhf.conftest import judge, make_comparison

pytestmark = pytest.mark.django_db

NEW = "/datasets/new/?kind=preference&project=harbour"
RULE = {"name": "first", "include": ["own"], "min_judgments": 1, "test_share": 0.1, "seed": 7, "use_extra": "on"}


@pytest.fixture
def crowd(project):
    """Four judge sixty pairs each; "user0" says the opposite of what the others say, and "user1" has done sixty more."""
    users = [User.objects.create(username=f"user{number}") for number in range(4)]
    for user in users:
        add_member(project, user, role="labeler")
    kinds = draw_kinds(4, shares={INVERTED: 0.25})
    votes = [
        (item, who, 2 if (item % 4 < 2) == (kinds[who] == INVERTED) else -2) for item in range(60) for who in range(4)
    ]
    store_votes(project, users, votes + [(item, 1, 2) for item in range(60, 120)])
    return users


def count_shares(dataset):
    names = Counter(DatasetSource.objects.filter(dataset=dataset).values_list("judgment__labeler__username", flat=True))
    return {name: n / names.total() for name, n in names.items()}


def freeze(client, **said):
    answer = client.post(NEW, RULE | said)
    assert answer.status_code == 302, answer.context["form"].errors
    return Dataset.objects.latest("pk")


def test_the_flagged_are_named_with_their_share_and_reason_and_a_way_to_their_page(as_manager, project, crowd):
    page = as_manager.get(NEW)

    (suspect,) = page.context["trust"].suspects
    assert (suspect.quality.labeler, suspect.n, suspect.share) == (crowd[0], 60, 60 / 300)
    assert "0 of votes 1 to 50 name the winner most others name; theirs would be 50." in page.text
    assert f'href="/projects/harbour/labelers/{crowd[0].pk}/"' in page.text
    assert re.search(r'name="without" value="user0" form="freeze"(?! checked)', page.text)


def test_the_shares_shown_are_those_of_the_dataset_that_is_frozen_then(as_manager, project, crowd):
    make_tie(project, crowd[3])
    behind = as_manager.get(NEW).context["trust"].behind

    shares = count_shares(freeze(as_manager))

    assert {f"user{number}": behind.share(user.pk) for number, user in enumerate(crowd)} == shares


def make_tie(project, labeler):
    judge(make_comparison(project), labeler, verdict="tie", strength=0)


def test_where_there_are_many_votes_the_page_comes_first_and_who_stands_behind_them_after_it(
    as_manager, project, crowd, monkeypatch
):
    monkeypatch.setattr(dataset_trust, "AT_ONCE", 299)

    page = as_manager.get(NEW)
    counted = as_manager.get(NEW, headers={"HX-Request": "true"})
    again = as_manager.get(NEW)

    assert page.context["trust"] is None
    assert (
        f'id="trust" aria-labelledby="trust-title" hx-get="{NEW.replace("&", "&amp;")}" hx-trigger="load"' in page.text
    )
    assert [answer.context["trust"].behind.n_votes for answer in (counted, again)] == [300, 300]


def test_whoever_is_ticked_is_left_out_by_the_rule(as_manager, project, crowd):
    dataset = freeze(as_manager, without=["user0"], exclude_labelers="user2")

    assert dataset.rule["exclude_labelers"] == ["user2", "user0"]
    assert set(count_shares(dataset)) == {"user1", "user3"}


def test_ticks_stay_where_the_form_is_refused_and_who_is_excluded_by_name_has_none(as_manager, project, crowd):
    refused = {"seed": "-1"}

    ticked = as_manager.post(NEW, RULE | refused | {"without": ["user0"], "cap": "on"})
    named = as_manager.post(NEW, RULE | {"exclude_labelers": "user0, mallory"})

    assert (ticked.status_code, named.status_code) == (422, 422)
    assert re.search(r'name="without" value="user0" form="freeze"[^>]* checked', ticked.text)
    assert 'name="without"' not in named.text
    assert "left out</span>" in named.text


def test_a_share_over_a_tenth_is_said_and_where_few_judge_more_are_asked_for(as_manager, project, crowd):
    page = as_manager.get(NEW)

    assert (page.context["trust"].largest, page.context["trust"].share) == (crowd[1], 0.4)
    assert "40.0%" in page.text
    assert "with 4 labelers somebody’s share always is" in page.text
    assert 'name="cap"' not in page.text


def test_where_enough_people_judge_a_cap_of_a_tenth_is_offered_and_kept(as_manager, project):
    users = [User.objects.create(username=f"user{number}") for number in range(12)]
    Membership.objects.bulk_create(Membership(project=project, user=user) for user in users)
    votes = [(item, who, -2) for item in range(10) for who in range(12)] + [(item, 3, -2) for item in range(10, 40)]
    store_votes(project, users, votes)

    page, plain, capped = as_manager.get(NEW), freeze(as_manager), freeze(as_manager, cap="on")
    tighter = freeze(as_manager, cap="on", labeler_share_max="0.09")

    assert page.context["trust"].largest == users[3]
    assert re.search(r'name="cap" form="freeze"(?! checked)', page.text)
    assert (plain.rule["labeler_share_max"], max(count_shares(plain).values())) == (0, 40 / 150)
    assert (capped.rule["labeler_share_max"], tighter.rule["labeler_share_max"]) == (0.1, 0.09)
    assert max(count_shares(capped).values()) <= 0.1


def test_whoever_is_in_quarantine_is_counted_and_not_asked_about(as_manager, project, crowd):
    Membership.objects.filter(user=crowd[0]).update(is_quarantined=True)

    page = as_manager.get(NEW)
    asked = as_manager.post(NEW, RULE | {"use_quarantined": "on", "labeler_share_max": "0.1"})

    assert (page.context["trust"].suspects, page.context["trust"].n_set_aside) == ([], 1)
    assert "1 flagged labeler in quarantine is left out already." in page.text
    assert [suspect.quality.labeler for suspect in asked.context["trust"].suspects] == [crowd[0]]
    assert asked.context["trust"].n_set_aside == 0


def test_while_labelers_are_measured_the_page_says_so_and_asks_again(as_manager, project, crowd, monkeypatch):
    monkeypatch.setattr(quality_report, "AT_ONCE", 0)
    cache.add(f"quality:{quality_report.SCHEMA}:{project.pk}:en-us:measuring", True)
    cache.add(f"quality:{quality_report.SCHEMA}:{project.pk}:en:measuring", True)

    page = as_manager.get(NEW)

    assert page.context["trust"].at is None
    assert 'hx-trigger="load delay:3s" hx-select="#trust"' in page.text
    assert "flagged now" not in page.text


def test_nobody_flagged_is_said_and_nobody_at_all_shows_nothing(as_manager, project, labeler):
    assert "Who stands behind" not in as_manager.get(NEW).text
    judge(make_comparison(project), labeler)

    assert "Nobody of them is flagged now." in as_manager.get(NEW).text
    assert Judgment.objects.count() == 1
    assert "Who stands behind" not in as_manager.get(NEW.replace("preference", "demonstration")).text
