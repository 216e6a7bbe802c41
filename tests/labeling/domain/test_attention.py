import time
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.attention import count_words, is_hasty
from labeling.models import Slot
from tests.labeling.rows import add_pair, claim, judge, revise, shown_before


@pytest.mark.parametrize(
    ("n_words", "elapsed_s", "expected"),
    [
        (0, 0.79, True),
        (0, 0.8, False),
        (21, 0.79, True),  # a few words take as long as the hand does
        (240, 8.99, True),  # a minute of reading, 15% of it
        (240, 9.0, False),
        (2400, 89.0, True),
        (2400, 3600.0, False),
        (240, -5.0, True),  # the clock went back: nothing was read
    ],
)
def test_hasty_is_sooner_than_a_glance_takes(n_words, elapsed_s, expected):
    assert is_hasty(n_words, elapsed_s) is expected


def test_words_are_counted_by_spaces_or_else_by_length():
    assert count_words(["Boil it for ten minutes.", "", "x" * 80, "水を沸かして卵を入れます。" * 8]) == 5 + 0 + 10 + 13


def test_a_text_the_page_cuts_counts_as_far_as_it_is_shown():
    assert count_words(["word " * 100_000]) == 20_000


LONG = {"text_a": "one way " * 120, "text_b": "another way " * 120}  # 483 words: 18 s is a glance


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "expected"), [(0.3, True), (10, True), (19, False), (400, False), (7200, False)])
def test_a_bot_is_flagged_and_a_slow_honest_labeler_is_not(kitchen, grace, seconds, expected):
    add_pair(kitchen, **LONG)
    slot = shown_before(claim(kitchen, grace), seconds)

    judgment = judge(slot, grace)

    assert (judgment.is_hasty, judgment.is_extra) == (expected, False)


@pytest.mark.django_db
def test_a_quick_answer_about_a_few_words_is_honest(kitchen, grace):
    add_pair(kitchen, "Yes?", text_a="Yes.", text_b="No.")

    assert judge(shown_before(claim(kitchen, grace), 1.2), grace).is_hasty is False


@pytest.mark.django_db
def test_the_pages_own_clock_does_not_count(kitchen, grace):
    add_pair(kitchen, **LONG)

    judgment = judge(claim(kitchen, grace), grace, active_ms=3_600_000, shown_at=timezone.now() - timedelta(hours=1))

    assert judgment.is_hasty is True


@pytest.mark.django_db
def test_a_late_vote_of_unknown_age_is_not_called_hasty(kitchen, grace):
    add_pair(kitchen, **LONG)
    slot = claim(kitchen, grace)
    Slot.objects.all().free_up()

    assert judge(slot, grace).is_hasty is False


@pytest.mark.django_db
def test_a_second_look_mends_haste_and_none_makes_it(kitchen, grace, hedy):
    add_pair(kitchen, **LONG)
    add_pair(kitchen, "And how not?", **LONG)
    hasty = judge(claim(kitchen, grace), grace)
    honest = judge(shown_before(claim(kitchen, hedy), 60), hedy)

    at_once, instant = revise(hasty, grace), revise(honest, hedy)

    assert (hasty.is_hasty, honest.is_hasty, at_once.is_hasty, instant.is_hasty) == (True, False, True, False)


@pytest.mark.django_db
def test_haste_is_mended_once_there_was_time_to_read(kitchen, grace):
    add_pair(kitchen, "Yes?", text_a="Yes.", text_b="No.")
    hasty = judge(shown_before(claim(kitchen, grace), -60), grace)
    time.sleep(0.85)

    assert (hasty.is_hasty, revise(hasty, grace).is_hasty) == (True, False)
