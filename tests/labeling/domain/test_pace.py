from datetime import date, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from labeling.domain import pace
from labeling.domain.assignment import claim_slot
from labeling.domain.gold import make_gold
from labeling.domain.pace import BAR_HEIGHT, BAR_PITCH, Bar, Share, draw_week, measure_known, measure_own, measure_pace
from labeling.models import Judgment, Project
from tests.labeling.rows import add_pair, claim, judge, revise

pytestmark = pytest.mark.django_db


def judge_one(project, labeler, question="one", **changes):
    add_pair(project, question)
    return judge(claim(project, labeler), labeler, **changes)


def move_back(judgments, days):
    """Let judgments have been made so many days ago; the guard that keeps them as they are looks away."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS judgments_are_append_only")
        else:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks to come cannot be altered
            cursor.execute("ALTER TABLE labeling_judgment DISABLE TRIGGER judgments_are_append_only")
    pks = [judgment.pk for judgment in judgments]
    Judgment.objects.filter(pk__in=pks).update(submitted_at=timezone.now() - timedelta(days=days))


@pytest.mark.database
def test_a_week_counts_her_own_first_votes_of_this_project(kitchen, garden, grace, hedy, eve):
    first = judge_one(kitchen, grace, "one", active_ms=10_000)
    judge_one(kitchen, grace, "two", active_ms=20_000)
    judge_one(kitchen, grace, "three")
    old = judge_one(kitchen, grace, "four", active_ms=60_000)
    older = judge_one(kitchen, grace, "five")
    revise(first, grace, 3)
    judge_one(kitchen, hedy, "six")
    judge_one(garden, eve, "seven")
    move_back([old], 6)
    move_back([older], 7)

    measured = measure_pace(kitchen, grace)

    assert (measured.today, measured.week, measured.seconds) == (3, 4, 30.0)
    assert [bar.n for bar in measured.bars] == [1, 0, 0, 0, 0, 0, 3]


def test_someone_new_has_an_empty_week(kitchen, grace):
    measured = measure_pace(kitchen, grace)

    assert (measured.today, measured.week, measured.seconds) == (0, 0, None)


def test_the_best_day_is_as_high_as_the_drawing_and_one_judgment_is_seen():
    today = date(2026, 11, 23)

    bars = draw_week({today: 400, date(2026, 11, 17): 1, date(2026, 11, 20): 100}, today)

    assert [(bar.day.day, bar.n, bar.height) for bar in bars] == [
        *((17, 1, 2), (18, 0, 0), (19, 0, 0), (20, 100, BAR_HEIGHT // 4)),
        *((21, 0, 0), (22, 0, 0), (23, 400, BAR_HEIGHT)),
    ]
    assert bars[-1] == Bar(day=today, n=400, left=6 * BAR_PITCH, height=BAR_HEIGHT)
    assert (bars[-1].top, bars[-1].middle) == (0, 6 * BAR_PITCH + BAR_PITCH // 2)


def judge_gold(project, manager, labeler, n_right, n_wrong):
    """Judge gold whose right answer is A, right and wrong so often; return the judgments."""
    Project.objects.update(gold_share=0.5)
    project.refresh_from_db()
    pairs = [add_pair(project, f"gold {number}") for number in range(n_right + n_wrong)]
    for pair in pairs:
        make_gold(pair, manager, strength_min=-3, strength_max=-1)
    judged = []
    for number in range(len(pairs)):
        slot = claim_probe(project, labeler)
        is_right = number < n_right
        judged.append(judge(slot, labeler, preference=-2 if slot.a_shown_left == is_right else 2))
    return judged


def claim_probe(project, labeler):
    """Claim until a probe comes: half of the claims are, and there is no other work."""
    return next(filter(None, (claim_slot(project, labeler) for _ in range(200))))


@pytest.mark.database
def test_known_answers_are_a_total_of_at_least_twenty_and_not_of_today(kitchen, ada, grace):
    judged = judge_gold(kitchen, ada, grace, n_right=15, n_wrong=6)

    fresh = measure_known(kitchen, grace)
    move_back(judged[1:], 1)
    told = measure_known(kitchen, grace)
    move_back(judged[1:2], 0)

    assert fresh is None
    assert (told, told.percent) == (Share(n_agreed=14, n=20), 70)
    assert measure_known(kitchen, grace) is None


@pytest.mark.database
def test_agreement_with_herself_is_about_content_whatever_the_side(kitchen, grace, monkeypatch):
    monkeypatch.setattr(pace, "MIN_PROBES", 2)
    Project.objects.update(repeat_share=0.5, repeat_after_h=0, gold_share=0)
    kitchen.refresh_from_db()
    judged = [judge_one(kitchen, grace, f"q{number}") for number in range(3)]
    verdicts = {judgment.comparison_id: judgment.verdict for judgment in judged}
    move_back(judged, 2)
    again = []
    for says_same in (True, True, False):
        slot = claim_probe(kitchen, grace)
        says_a = (verdicts[slot.comparison_id] == "A") == says_same
        again.append(judge(slot, grace, preference=-2 if says_a == slot.a_shown_left else 2))

    fresh = measure_own(kitchen, grace)
    move_back(again, 1)

    assert {judgment.reason for judgment in again} == {"repeat"}
    assert fresh is None
    assert measure_own(kitchen, grace) == Share(n_agreed=2, n=3)
