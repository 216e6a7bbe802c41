import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.gold import make_gold
from labeling.domain.judging import Vote
from labeling.domain.progress import Progress, find_last_act, measure_progress, measure_progresses
from labeling.domain.revising import revise_judgment
from labeling.domain.skipping import skip_comparison
from labeling.models import Project, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_progress_counts_her_own_day_and_what_waits_for_her(kitchen, grace, hedy):
    add_pairs(kitchen, 5)
    judged = judge(claim(kitchen, grace), grace)
    judge(claim(kitchen, hedy), hedy)
    revise_judgment(judged, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=1))
    claim(kitchen, grace)

    assert measure_progress(kitchen, grace) == Progress(today=1, left=3)


def test_two_free_slots_of_one_comparison_are_one_task(kitchen, grace):
    add_pair(kitchen, overlap=3)

    assert measure_progress(kitchen, grace) == Progress(today=0, left=1)


def test_every_vote_and_every_skip_leaves_one_less_whatever_it_was_of(kitchen, ada, grace):
    for number in range(3):
        make_gold(add_pair(kitchen, f"gold {number}"), ada, strength_min=1, strength_max=3)
    add_pairs(kitchen, 6)
    shown = []
    for gold_share, act in ((0, judge), (1, judge), (0, judge), (1, skip), (1, judge), (0, judge)):
        kitchen.gold_share = gold_share
        slot = claim(kitchen, grace)
        shown.append((slot.reason, measure_progress(kitchen, grace).left_text))
        act(slot, grace)

    assert shown == [("random", "6"), ("gold", "5"), ("random", "4"), ("gold", "3"), ("gold", "2"), ("random", "1+")]
    kitchen.gold_share = 0
    for _ in range(3):
        shown.append(measure_progress(kitchen, grace).left_text)
        judge(claim(kitchen, grace), grace)
    assert shown[6:] == ["1+", "1+", "1"]
    assert measure_progress(kitchen, grace).left_text == "0"


def skip(slot, labeler):
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason="language")


def test_gold_alone_in_front_of_her_is_one(kitchen, ada, grace):
    make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3)
    kitchen.gold_share = 1
    claim(kitchen, grace)

    assert measure_progress(kitchen, grace) == Progress(today=0, left=1)


def test_a_window_full_of_what_is_not_for_her_hides_more(kitchen, grace, monkeypatch):
    monkeypatch.setattr("labeling.domain.progress.WINDOW", 2)
    add_pair(kitchen, "hers", overlap=2)
    judge(claim(kitchen, grace), grace)
    add_pair(kitchen, "skipped", overlap=1)
    skip(claim(kitchen, grace), grace)
    Slot.objects.filter(state="free").update(shuffle=1)
    late = add_pair(kitchen, "late")
    Slot.objects.filter(comparison=late).update(number=9)

    progress = measure_progress(kitchen, grace)
    assert (progress, progress.is_done) == (Progress(today=1, left=0, is_more=True), False)
    assert claim(kitchen, grace).comparison == late


def test_yesterday_does_not_count(kitchen, grace, monkeypatch):
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)
    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)

    assert measure_progress(kitchen, grace) == Progress(today=0, left=0)


def test_ten_projects_cost_as_many_queries_as_one(kitchen, grace, django_assert_num_queries):
    projects = [kitchen] + [Project.objects.create(slug=f"p{number}", name="P") for number in range(9)]
    for project in projects:
        add_pair(project)

    for asked in (projects[:1], projects):
        with django_assert_num_queries(3):
            progresses = measure_progresses(asked, grace)

    assert progresses == {project.pk: Progress(today=0, left=1) for project in projects}


def test_undo_is_about_the_last_thing_she_did(kitchen, grace, hedy):
    add_pairs(kitchen, 3)
    assert find_last_act(kitchen, grace) is None
    judgment = judge(claim(kitchen, grace), grace)
    judge(claim(kitchen, hedy), hedy)
    assert find_last_act(kitchen, grace) == judgment
    slot = claim(kitchen, grace)
    skip = skip_comparison(slot.pk, grace, lease_token=slot.lease_token, reason="language")
    assert find_last_act(kitchen, grace) == skip
    revision = revise_judgment(judgment, grace, idempotency_key=uuid.uuid4(), vote=Vote(preference=1))
    assert find_last_act(kitchen, grace) == revision
