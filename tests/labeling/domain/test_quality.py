from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from labeling.domain import votes
from labeling.domain.gold import make_gold
from labeling.domain.overlap import set_overlap
from labeling.domain.people import add_member
from labeling.domain.quality import assess_labelers, measure_agreement
from labeling.models import Comparison, Gold, Judgment, Membership, Project, Slice, User
from tests.labeling.crowds import (
    INVERTED,
    RANDOM,
    answer,
    build_judgment,
    draw_crowd,
    draw_kinds,
    store_votes,
)
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = pytest.mark.django_db


def add_users(project: Project, n: int) -> list[User]:
    users = [User.objects.create(username=f"user{number:02}") for number in range(n)]
    for user in users:
        add_member(project, user, role="labeler")
    return users


def store_crowd(project, users, kinds, *, n_items=120, overlap=3, seed=0):
    drawn = draw_crowd(kinds, np.random.default_rng(seed), n_items=n_items, overlap=overlap)
    votes = zip(*(column.tolist() for column in drawn[:3]), strict=True)
    store_votes(project, users, list(votes))


def store_gold(project, users, kinds, *, n=20, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([-1, 1], n // 2))
    pairs = add_pairs(project, n, overlap=0)
    for pair, right in zip(pairs, truth, strict=True):
        low, high = sorted((int(right), 3 * int(right)))
        Gold.objects.create(comparison=pair, strength_min=low, strength_max=high)
    Judgment.objects.bulk_create(
        build_judgment(pair, user, int(said), 0, 0, {"reason": "gold"})
        for user, kind in zip(users, kinds, strict=True)
        for pair, said in zip(pairs, answer(kind, truth, rng), strict=True)
    )


@pytest.mark.database
def test_a_crowd_is_told_apart(kitchen):
    users = add_users(kitchen, 10)
    kinds = draw_kinds(10, shares={INVERTED: 0.1, RANDOM: 0.2})
    store_crowd(kitchen, users, kinds, n_items=300, overlap=3)
    store_gold(kitchen, users, kinds)

    rows = {row.labeler.username: row for row in assess_labelers(kitchen)}

    flagged = {name: [flag.rule for flag in row.flags] for name, row in rows.items() if row.flags}
    assert set(flagged) == {"user00", "user01", "user02"}
    assert flagged["user00"] == ["gold", "agreement"]
    assert all("gold" in rules for rules in flagged.values())
    inverted, honest = rows["user00"], rows["user09"]
    assert inverted.reliability.value < 0.3 < 0.8 < honest.reliability.value
    assert inverted.agreement.value < 0.4 < 0.7 < honest.agreement.value
    assert honest.gold.value == honest.n_right / 20
    assert honest.gold.low < honest.gold.value <= honest.gold.high
    assert sum(row.n for row in rows.values()) == 900
    assert (honest.median_s, honest.n_pastes, honest.is_active, honest.is_quarantined) == (4.0, 0, True, False)


def test_what_is_not_known_says_why(kitchen, grace):
    (row,) = assess_labelers(kitchen)

    assert {figure.key: (figure.value, figure.reason) for figure in list_figures(row)} == {
        "gold": (None, "No gold met yet."),
        "consistency": (None, "No repeat judged yet."),
        "left": (None, "No winner named yet."),
        "longer": (None, "No winner of two lengths named yet."),
        "ties": (None, "No judgment yet."),
        "hasty": (None, "No judgment yet."),
        "agreement": (None, "Nobody else judged the same yet."),
        "reliability": (None, "Judged by others too: 0, and 10 are needed."),
    }
    assert (row.labeler, row.n, row.left_z, row.longer_z, row.median_s, row.flags) == (grace, 0, None, None, None, [])


def list_figures(row):
    return [row.gold, row.consistency, row.left, row.longer, row.ties, row.hasty, row.agreement, row.reliability]


def test_gold_short_of_a_block_is_shown_and_decides_nothing(kitchen, grace):
    store_gold(kitchen, [grace], [INVERTED], n=8)

    (row,) = assess_labelers(kitchen)

    assert row.gold.value is not None
    assert (row.gold.reason, row.flags) == ("8 of the 20 it is decided by.", [])


def test_always_left_is_flagged_by_her_side(kitchen):
    users = add_users(kitchen, 4)
    rng = np.random.default_rng(0)
    votes = [(item, labeler, int(rng.choice([-2, 2]))) for item in range(60) for labeler in range(4)]
    # An item and labeler whose sum is even see A on the left.
    votes = [(i, who, (-2 if (i + who) % 2 == 0 else 2) if who == 0 else s) for i, who, s in votes]
    store_votes(kitchen, users, votes)

    rows = assess_labelers(kitchen)

    assert [[flag.rule for flag in row.flags] for row in rows] == [["side"], [], [], []]
    assert (rows[0].left.value, rows[0].left.n) == (1.0, 60)
    assert rows[0].left_z > 7


def test_who_judges_another_slice_than_most_is_measured_by_that_slice(kitchen):
    users = add_users(kitchen, 6)
    terse = Slice.objects.create(project=kitchen, name="terse")
    pairs = [add_pair(kitchen, f"item {n}", text_a="a longer text of many words", text_b="short") for n in range(120)]
    kitchen.prompts.filter(comparisons__in=pairs[60:]).update(slice=terse)
    Judgment.objects.bulk_create(
        build_judgment(pair, user, 2 if number >= 60 else -2, number, 0, {})
        for number, pair in enumerate(pairs)
        for user in (users[4:] if number >= 60 else users[:4])
    )

    rows = assess_labelers(kitchen)

    assert [row.longer.value for row in rows] == [1.0] * 4 + [0.0] * 2
    assert ["length" in {flag.rule for flag in row.flags} for row in rows] == [False] * 6


def test_gold_and_repeats_are_measured_by_the_others(kitchen):
    users = add_users(kitchen, 8)
    pairs = add_pairs(kitchen, 20, overlap=0)
    for pair in pairs:
        Gold.objects.create(comparison=pair, strength_min=1, strength_max=3)
    Judgment.objects.bulk_create(
        build_judgment(pair, user, 2 if number >= missed else -2, 0, 0, {"reason": "gold"})
        for user, missed in zip(users, (6, 5, 5, 5, 5, 5, 5, 12), strict=True)
        for number, pair in enumerate(pairs)
    )
    asked = [add_pair(kitchen, f"again {number}") for number in range(20)]
    for reason, said in (("random", lambda _number: 2), ("repeat", lambda number: 2 if number >= 9 else -2)):
        Judgment.objects.bulk_create(
            build_judgment(pair, user, said(number), 0, 0, {"reason": reason})
            for user in users
            for number, pair in enumerate(asked)
        )

    rows = assess_labelers(kitchen)

    # Alone, 14 and 15 of 20 gold, and 11 of 20 repeats, would be too few.
    assert [[flag.rule for flag in row.flags if flag.rule in ("gold", "repeats")] for row in rows] == [[]] * 7 + [
        ["gold"]
    ]


def test_a_bot_that_answers_at_once_is_flagged_and_a_slow_honest_one_is_not(kitchen):
    users = add_users(kitchen, 2)
    store_votes(
        kitchen,
        users,
        [(item, who, 2 if (item * 7) % 3 else -2) for item in range(60) for who in (0, 1)],
        is_hasty=lambda _item, who: who == 0,
        active_ms=lambda _item, who: 300 if who == 0 else 90_000,
    )

    bot, honest = assess_labelers(kitchen)

    assert ("haste" in {flag.rule for flag in bot.flags}, "haste" in {flag.rule for flag in honest.flags}) == (
        True,
        False,
    )
    assert (bot.median_s, honest.median_s, bot.hasty.value, honest.hasty.value) == (0.3, 90.0, 1.0, 0.0)


def test_six_colluding_bots_are_flagged_with_whom_they_copy(kitchen):
    users = add_users(kitchen, 16)
    rng = np.random.default_rng(5)
    items, labelers, strengths, _ = draw_crowd(draw_kinds(16, shares={}), rng, n_items=240, overlap=8)
    script = rng.choice([-2, 2], 240)
    strengths = np.where(labelers < 6, script[items], strengths)
    store_votes(kitchen, users, list(zip(items.tolist(), labelers.tolist(), strengths.tolist(), strict=True)))

    flagged = {row.labeler.username: row.flags for row in assess_labelers(kitchen) if row.flags}

    rules = {name: {flag.rule for flag in flags} for name, flags in flagged.items()}
    assert {name for name, found in rules.items() if "copies" in found} == {f"user{number:02}" for number in range(6)}
    reasons = " ".join(flag.reason for flags in flagged.values() for flag in flags if flag.rule == "copies")
    assert set(re.findall(r"user\d\d", reasons)) <= {f"user{number:02}" for number in range(6)}
    assert "on 50 of the 50 both judged" in reasons


def test_asking_on_where_labelers_disagree_does_not_move_how_far_they_agree(kitchen):
    """Every vote is right 80 times in 100, so two name the same winner 68 times in 100, with a kappa of 0.36."""
    users, rng = add_users(kitchen, 12), np.random.default_rng(1)
    asked = []
    for item in range(600):
        # Some are early and others late: those who come third find contested comparisons only.
        labelers = [*rng.permutation(8)[:2], *(8 + rng.permutation(4)[:3])]
        said = [(item, int(labeler), int(rng.choice([2, -2], p=[0.8, 0.2]))) for labeler in labelers]
        asked += said if said[0][2] != said[1][2] else said[:2]
    votes = [(item, who, strength if item % 2 else -strength) for item, who, strength in asked]
    store_votes(kitchen, users, votes, is_conditional=lambda _item, labeler: labeler >= 8)

    [whole], pairs = measure_agreement(kitchen), measure_agreement(kitchen, by="pair")

    figures = {figure.key: figure for figure in whole.figures}
    for key, truth in (("signs", 0.68), ("fleiss", 0.36), ("ordinal", 0.36)):
        assert figures[key].low < truth < figures[key].high, key
        assert figures[key].high - figures[key].low < 0.2
    assert (whole.n_items, whole.n_votes) == (600, 1200)
    assert all({name[-2:] for name in pair.name.split(" - ")} <= {f"{n:02}" for n in range(8)} for pair in pairs)


def test_what_agreement_was_it_stays_when_overlap_is_raised_and_nobody_is_asked_on_any_more(kitchen, ada, grace, hedy):
    Project.objects.update(overlap=2, overlap_max=3)
    kitchen.refresh_from_db()
    add_pairs(kitchen, 3, overlap=2)
    for labeler in (grace, hedy):
        for _ in range(3):
            slot = claim(kitchen, labeler)
            is_at_odds = labeler == hedy and slot.comparison.pk == Comparison.objects.latest("id").pk
            judge(slot, labeler, 2 if slot.a_shown_left == is_at_odds else -2)
    judge(claim(kitchen, ada), ada)  # whom the two at odds are asked about
    assert measure_signs(kitchen) == pytest.approx(2 / 3)

    Project.objects.update(overlap=3, overlap_max=0)
    set_overlap(Comparison.objects.all(), 3, actor=ada)
    assert measure_signs(kitchen) == pytest.approx(2 / 3)
    for _ in range(2):
        judge(claim(kitchen, ada), ada)

    assert measure_signs(kitchen) == pytest.approx(2 / 3)
    assert Judgment.objects.count() == 9


def measure_signs(project):
    [whole] = measure_agreement(Project.objects.get(pk=project.pk))
    return {figure.key: figure.value for figure in whole.figures}["signs"]


def test_where_nobody_is_asked_on_every_vote_counts(kitchen):
    store_crowd(kitchen, add_users(kitchen, 4), ["honest"] * 4, n_items=30, overlap=4)

    [whole] = measure_agreement(kitchen)

    assert (whole.n_items, whole.n_votes) == (30, 120)


@pytest.mark.parametrize("n", [1, 5])
def test_it_asks_as_often_for_one_labeler_as_for_five(kitchen, django_assert_num_queries, n):
    store_crowd(kitchen, add_users(kitchen, n), ["honest"] * n, n_items=20, overlap=min(n, 3))

    with django_assert_num_queries(6):
        assess_labelers(kitchen)
    with django_assert_num_queries(1):
        measure_agreement(kitchen, by="slice")
    with django_assert_num_queries(2):
        measure_agreement(kitchen, by="labeler")


def test_those_who_left_keep_their_figures_and_others_have_none(kitchen, ada, grace, eve):
    store_votes(kitchen, [grace, ada], [(item, who, 2) for item in range(3) for who in (0, 1)])
    Membership.objects.filter(user=grace).delete()

    rows = assess_labelers(kitchen)

    # ada manages and judged, grace judged and left, eve labels elsewhere.
    assert [(row.labeler, row.n, row.is_active) for row in rows] == [(ada, 3, True), (grace, 3, False)]


def test_nobody_is_compared_with_those_in_quarantine(kitchen):
    users = add_users(kitchen, 6)
    # Three say B, three say A to the same, and look like each other's equals until the latter are quarantined.
    votes = [(item, who, (2 if who < 3 else -2) * (1 if item % 2 else -1)) for item in range(60) for who in range(6)]
    store_votes(kitchen, users, votes)
    before = [row.agreement.value for row in assess_labelers(kitchen)]
    Membership.objects.filter(user__in=users[3:]).update(is_quarantined=True)

    rows = assess_labelers(kitchen)
    (whole,) = measure_agreement(kitchen)

    assert before == [0.0] * 6
    assert [(row.n, row.agreement.n, row.agreement.value) for row in rows] == [(60, 60, 1.0)] * 3 + [(60, 60, 0.0)] * 3
    assert (whole.n_labelers, whole.n_votes, whole.figures[0].value) == (3, 180, 1.0)
    assert min(row.reliability.value for row in rows[:3]) > 0.9
    assert ["agreement" in {flag.rule for flag in row.flags} for row in rows] == [False] * 3 + [True] * 3


def test_agreement_is_measured_in_the_whole_and_in_parts(kitchen):
    users = add_users(kitchen, 3)
    last_week = timezone.now() - timedelta(days=7)
    store_votes(kitchen, users, [(item, who, 2 if item % 2 else -2) for item in range(12) for who in (0, 1)])
    code = Slice.objects.create(project=kitchen, name="code")
    kitchen.prompts.filter(messages__0__content__in=[f"item {n}" for n in range(4)]).update(slice=code)
    store_votes(
        kitchen, users, [(item, who, 2 - 4 * who) for item in (30, 31) for who in (0, 1)], submitted_at=last_week
    )
    store_votes(kitchen, users, [(99, 2, 1)])

    def measure(by=None):
        return {
            part.name: (part.n_items, part.n_labelers, part.n_votes, part.figures[0].value)
            for part in measure_agreement(kitchen, by=by)
        }

    assert measure() == {"": (14, 3, 29, pytest.approx(12 / 14))}
    assert measure("slice") == {"": (10, 3, 21, pytest.approx(0.8)), "code": (4, 2, 8, 1.0)}
    assert list(measure("week").values()) == [(2, 2, 4, 0.0), (12, 3, 25, 1.0)]
    assert measure("pair") == {"user00 - user01": (14, 2, 28, pytest.approx(12 / 14))}
    assert measure("labeler") == {
        "user00": (14, 2, 14, pytest.approx(12 / 14)),
        "user01": (14, 2, 14, pytest.approx(12 / 14)),
        "user02": (0, 1, 1, None),
    }


def test_weeks_are_named_by_their_mondays(kitchen):
    store_votes(kitchen, add_users(kitchen, 2), [(0, 0, 1), (0, 1, 1)])

    (week,) = measure_agreement(kitchen, by="week")

    today = timezone.localdate()
    assert week.name == (today - timedelta(days=today.weekday())).isoformat()


def test_nobody_has_judged_in_an_empty_project(kitchen):
    assert [part.figures[0].reason for part in measure_agreement(kitchen)] == ["Nobody has judged here yet."]
    assert [measure_agreement(kitchen, by=by) for by in ("slice", "week", "pair", "labeler")] == [[], [], [], []]


def test_inverted_work_through_the_real_doors_is_flagged(kitchen, ada, grace, hedy):
    Project.objects.filter(pk=kitchen.pk).update(gold_share=0.5)
    kitchen.refresh_from_db()
    for number, pair in enumerate(add_pairs(kitchen, 22, overlap=0)):
        sign = 1 if number % 2 else -1
        low, high = sorted((sign, 3 * sign))
        make_gold(pair, ada, strength_min=low, strength_max=high)
    add_pairs(kitchen, 60, text_a="A", text_b="B")

    for labeler, is_honest in ((grace, True), (hedy, False)):
        n_gold = 0
        while n_gold < 20:
            slot = claim(kitchen, labeler)
            right = slot.comparison.gold.strength_max > 0 if slot.reason == "gold" else True
            n_gold += slot.reason == "gold"
            wins_b = right == is_honest
            judge(slot, labeler, 2 if wins_b == slot.a_shown_left else -2)

    rows = {row.labeler: row for row in assess_labelers(kitchen)}
    assert (rows[grace].n_right, rows[hedy].n_right) == (20, 0)
    assert [flag.rule for flag in rows[grace].flags] == []
    assert [flag.reason for flag in rows[hedy].flags if flag.rule == "gold"] == ["0 of gold 1 to 20 right, 16 wanted."]


def test_a_bad_record_is_not_forgotten_because_others_vote(kitchen, monkeypatch):
    monkeypatch.setattr(votes, "WINDOW", 60)
    monkeypatch.setattr(votes, "STEP", 50)
    monkeypatch.setattr(votes, "MAX_VOTES", 100)
    bot, *others = people = add_users(kitchen, 4)
    # The bot says the opposite of all others on 60 comparisons, and stops; the others go on for long.
    said = [(n, who, (2 if who else -2) * (1 if n % 2 else -1)) for n in range(60) for who in range(4)]
    store_votes(kitchen, people, said)
    before = {row.labeler: (row.n, [flag.rule for flag in row.flags]) for row in assess_labelers(kitchen)}
    store_votes(kitchen, others, [(n, who, 2 if n % 2 else -2) for n in range(60, 260) for who in range(3)])

    after = {row.labeler: row for row in assess_labelers(kitchen)}

    assert "agreement" in before[bot][1]
    assert (after[bot].n, [flag.rule for flag in after[bot].flags]) == before[bot]
    # The others' figures are of a window of theirs, what they are counted by is not.
    assert [(after[user].n, after[user].left.n, after[user].agreement.n) for user in people] == [
        (60, 60, 60),
        *[(260, 60, 60)] * 3,
    ]
