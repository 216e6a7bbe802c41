from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rlhf.templatetags.figures import duration, elapsed, figure, points, share, time_left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 s"),
        (-3, "0 s"),
        (89.4, "89 s"),
        (90, "1 min 30 s"),
        (120, "2 min"),
        (600, "10 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "a few seconds left"),
        (4.9, "a few seconds left"),
        (38.0, "about 40 s left"),
        (58.0, "about 60 s left"),
        (127.0, "about 2 min 10 s left"),
        (3000.0, "about 50 min left"),
    ],
)
def test_estimates_are_no_finer_than_they_can_be_trusted(seconds, text):
    assert time_left(seconds) == text


def test_what_has_no_end_has_taken_until_now():
    assert elapsed(None, None) == ""
    assert elapsed(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, 15, tzinfo=UTC)) == "75 s"
    assert elapsed(datetime.now(UTC) - timedelta(seconds=30), None) == "30 s"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.71342, "0.7134"), (3e-4, "0.0003"), (2790, "2\u00a0790"), (60.0, "60"), (True, "True"), ("x", "x")],
)
def test_figures_have_four_digits_and_thousands_apart(value, text):
    assert figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0, "0.0%"), (0.8125, "81.2%"), (1, "100.0%")])
def test_shares_are_in_percent(value, text):
    assert share(value) == text


def test_differences_of_shares_have_their_sign():
    assert [points(value) for value in (0.0512, 0.0, -0.2)] == ["+5.1", "+0.0", "−20.0"]
