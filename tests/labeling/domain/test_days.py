from datetime import date, timedelta

import pytest
from django.utils import timezone

from labeling.domain.days import DAYS, count_days, draw_days
from labeling.domain.history import span_day
from tests.labeling.rows import add_pairs
from tests.labeling.votes import say

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_days_are_counted_by_the_clock_of_the_place(kitchen, garden, grace, hedy, eve):
    today = timezone.localdate()
    first, last = span_day(today - timedelta(days=3))
    one, two, three, four = add_pairs(kitchen, 4)
    say(one, grace, 1, submitted_at=first)
    before = say(one, hedy, 1, submitted_at=last)
    say(one, hedy, 2, submitted_at=last, revises=before)
    say(two, grace, 1, submitted_at=last + timedelta(microseconds=1))
    say(three, grace, 1)
    say(four, grace, 1, submitted_at=first - timedelta(days=DAYS))
    say(add_pairs(garden, 1)[0], eve, 1)

    assert count_days(kitchen) == {today - timedelta(days=3): 2, today - timedelta(days=2): 1, today: 1}


def test_the_best_day_is_as_high_as_the_drawing_and_one_judgment_is_seen():
    today = date(2026, 3, 1)

    columns = draw_days({today: 1000, today - timedelta(days=1): 1}, today)

    assert len(columns) == DAYS
    last_two = [(column.day, column.n, column.height, column.is_marked) for column in columns[-2:]]
    assert last_two == [(date(2026, 2, 28), 1, 2, False), (today, 1000, 100, True)]
    assert {column.height for column in columns[:-2]} == {0}
