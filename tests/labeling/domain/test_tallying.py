"""What judgments come to, kept beside their comparison in the same transaction."""

import pytest

from labeling.models import Comparison, Judgment, Membership, Project, Slot
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, claim, judge, revise, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def say(project, labeler, strength):
    slot = claim(project, labeler)
    return judge(slot, labeler, strength if slot.a_shown_left else -strength, scale="seven")


def tally_of(comparison):
    return Comparison.objects.values_list("n_judgments", "spread", "is_split").get(pk=comparison.pk)


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ([], (0, 0, False)),
        ([3], (1, 0, False)),
        ([1, 2], (2, 1, False)),
        ([0, 3], (2, 3, False)),
        ([-1, 1], (2, 2, True)),
        ([-3, 0, 3], (3, 6, True)),
        ([0, 0, 0], (3, 0, False)),
    ],
)
def test_a_comparison_knows_how_many_judged_it_and_how_far_apart_they_are(kitchen, strengths, expected):
    comparison = add_pair(kitchen, overlap=4)

    for number, strength in enumerate(strengths):
        say(kitchen, make_member(kitchen, f"labeler-{number}"), strength)

    assert tally_of(comparison) == expected


def test_revisions_count_as_they_stand(kitchen, grace, hedy):
    comparison = add_pair(kitchen, overlap=2)
    say(kitchen, grace, -2)
    second = say(kitchen, hedy, 3)
    before = tally_of(comparison)

    revise(second, hedy, -1 if second.a_shown_left else 1, scale="seven")

    assert (before, tally_of(comparison)) == ((2, 5, True), (2, 1, False))


def test_an_extra_vote_counts(kitchen, grace, hedy):
    comparison = add_pair(kitchen)
    lost = claim(kitchen, grace)
    Slot.objects.all().free_up()
    say(kitchen, hedy, 3)

    extra = judge(lost, grace, -1 if lost.a_shown_left else 1, scale="seven")

    assert (extra.is_extra, tally_of(comparison)) == (True, (2, 4, True))


def test_a_repeat_changes_nothing(kitchen, grace):
    comparison = add_pair(kitchen)
    say(kitchen, grace, 3)
    kitchen.gold_share, kitchen.repeat_share, kitchen.repeat_after_h = 0.0, 1.0, 0

    repeat = say(kitchen, grace, -3)

    assert (repeat.reason, tally_of(comparison)) == ("repeat", (1, 0, False))


def test_a_vote_that_is_refused_leaves_the_tally_alone(kitchen, grace, hedy):
    comparison = add_pair(kitchen, overlap=2)
    say(kitchen, grace, 2)
    slot = claim(kitchen, hedy)
    Membership.objects.filter(user=hedy).update(is_active=False)

    with pytest.raises(Exception, match="no active member"):
        judge(slot, hedy)

    assert (tally_of(comparison), Slot.objects.get(pk=slot.pk).state) == ((1, 0, False), "held")


@pytest.mark.django_db(transaction=True)
def test_votes_at_once_do_not_miss_each_other(kitchen):
    comparison = add_pair(kitchen, overlap=8)
    labelers = [make_member(kitchen, f"labeler-{number}") for number in range(8)]
    slots = [claim(kitchen, labeler) for labeler in labelers]
    pairs = list(zip(slots, labelers, [-3, 3] * 4, strict=True))

    results = run_together(
        *[
            lambda slot=slot, labeler=labeler, strength=strength: (
                judge(slot, labeler, strength if slot.a_shown_left else -strength, scale="seven").strength
            )
            for slot, labeler, strength in pairs
        ]
    )

    assert results == [-3, 3] * 4
    assert tally_of(comparison) == (8, 6, True)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_disagree_at_once_the_second_asks_for_a_third(kitchen, grace, hedy):
    Project.objects.update(overlap_max=3)
    kitchen.refresh_from_db()
    comparison = add_pair(kitchen, overlap=2)
    slots = [(claim(kitchen, labeler), labeler) for labeler in (grace, hedy)]

    run_together(
        *[
            lambda slot=slot, labeler=labeler, step=step: judge(slot, labeler, step if slot.a_shown_left else -step)
            for (slot, labeler), step in zip(slots, (-2, 2), strict=True)
        ]
    )

    comparison.refresh_from_db()
    states = sorted(Slot.objects.values_list("state", flat=True))
    assert (comparison.overlap, states, Judgment.objects.count()) == (3, ["done", "done", "free"], 2)
