import pytest

from labeling.domain.assignment import release_slot
from labeling.domain.errors import InvalidContent, InvalidGold
from labeling.domain.gold import drop_gold, is_right, make_gold, right_answers, score_gold
from labeling.models import Gold, Judgment, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise, trail

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def make(comparison, actor, low=-3, high=-1, **changes):
    return make_gold(comparison, actor, strength_min=low, strength_max=high, **changes)


def answer_gold(project, labeler, strength, **changes):
    """Judge the gold she is given, in terms of the contents."""
    slot = claim(project, labeler)
    assert slot.reason == "gold"
    return judge(slot, labeler, strength if slot.a_shown_left else -strength, scale="seven", **changes)


@pytest.fixture
def only_gold(kitchen):
    """Let every claim of this project's row be gold; the database would not store such a share."""
    kitchen.gold_share = 1.0


def test_gold_leaves_the_ordinary_queue_and_the_trail_says_who_made_it(kitchen, ada):
    comparison = add_pair(kitchen, overlap=2)

    gold = make(comparison, ada, explanation="B invents a minute.", is_exam=True)

    facts = {
        "strength_min": -3,
        "strength_max": -1,
        "explanation": "B invents a minute.",
        "is_exam": True,
        "is_active": True,
    }
    assert Gold.objects.values(*facts).get() == facts
    assert list(Slot.objects.values_list("state", flat=True)) == ["shut", "shut"]
    event = trail().get()
    assert (event.verb, event.actor, event.project, event.before, event.after) == ("gold.make", ada, kitchen, {}, facts)
    assert gold.comparison == comparison


def test_a_slot_held_while_its_comparison_becomes_gold_is_shut_when_it_comes_back(kitchen, ada, grace):
    comparison = add_pair(kitchen)
    slot = claim(kitchen, grace)
    make(comparison, ada)

    release_slot(slot, grace)

    assert list(Slot.objects.values_list("state", "labeler")) == [("shut", None)]


def test_said_again_it_replaces_what_was_said(kitchen, ada):
    comparison = add_pair(kitchen)
    first = make(comparison, ada)
    drop_gold(first, ada)

    again = make(comparison, ada, 1, 3)

    assert again == first
    assert Gold.objects.values_list("strength_min", "strength_max", "is_active").get() == (1, 3, True)
    assert trail().first().before["strength_max"] == -1


@pytest.mark.parametrize(("low", "high"), [(1, -1), (-4, 0), (0, 4), (-3, 3)])
def test_a_range_that_measures_nobody_is_refused(kitchen, ada, low, high):
    comparison = add_pair(kitchen)

    with pytest.raises(InvalidGold):
        make(comparison, ada, low, high)

    assert (Gold.objects.count(), Slot.objects.get().state) == (0, "free")


def test_an_explanation_no_database_keeps_is_refused(kitchen, ada):
    with pytest.raises(InvalidContent):
        make(add_pair(kitchen), ada, explanation="\x00")


def test_dropped_gold_is_kept_with_the_trail_and_dropping_it_twice_is_one_event(kitchen, ada):
    gold = make(add_pair(kitchen), ada)

    dropped = [drop_gold(gold, ada).is_active for _ in range(2)]

    assert dropped == [False, False]
    assert list(trail().values_list("verb", flat=True)) == ["gold.drop", "gold.make"]


@pytest.mark.parametrize(
    ("low", "high", "seven", "quick"),
    [
        (-3, -1, [-3, -2, -1], [-2]),
        (-3, -3, [-3], [-2]),  # one key cannot say "much better": who names the winner is right
        (-1, 1, [-1, 0, 1], [-2, 0, 2]),
        (0, 0, [0], [0]),
        (0, 2, [0, 1, 2], [0, 2]),
        (2, 3, [2, 3], [2]),
    ],
)
def test_an_answer_is_right_in_the_range_or_by_its_winner(low, high, seven, quick):
    gold = Gold(strength_min=low, strength_max=high)

    assert [step for step in range(-3, 4) if is_right(gold, step)] == seven
    assert [step for step in (-2, 0, 2) if is_right(gold, step, scale="quick")] == quick


@pytest.mark.parametrize("scale", ["seven", "quick"])
def test_the_database_calls_right_what_the_house_calls_right(kitchen, ada, grace, only_gold, scale):
    gold = make(add_pair(kitchen), ada)
    judgment = answer_gold(kitchen, grace, -2)
    ranges = [(low, high) for low in range(-3, 4) for high in range(low, 4)]
    steps = range(-3, 4) if scale == "seven" else (-2, 0, 2)

    for step in steps:
        judgment = revise(judgment, grace, step if judgment.a_shown_left else -step, scale=scale)
        for low, high in ranges:
            Gold.objects.update(strength_min=low, strength_max=high)
            gold.refresh_from_db()
            by_database = Judgment.objects.filter(right_answers(), pk=judgment.pk).exists()
            assert by_database == is_right(gold, step, scale=scale), (step, low, high)


def test_her_score_is_of_her_last_words_on_gold_that_was_not_dropped(kitchen, ada, grace, hedy, only_gold):
    golds = [make(comparison, ada) for comparison in add_pairs(kitchen, 4)]
    for strength in (-2, -1, 2, 3):
        last = answer_gold(kitchen, grace, strength)
    answer_gold(kitchen, hedy, 3)

    before = score_gold(grace, kitchen)
    revise(last, grace, -3 if last.a_shown_left else 3, scale="seven")
    after = score_gold(grace, kitchen)
    for gold in golds:
        drop_gold(gold, ada)

    assert (before, after, score_gold(hedy, kitchen), score_gold(grace, kitchen)) == ((2, 4), (3, 4), (0, 0), (0, 0))


def test_gold_counts_toward_nothing_else(kitchen, ada, grace, only_gold):
    comparison = add_pair(kitchen)
    make(comparison, ada)

    answer_gold(kitchen, grace, 3)

    comparison.refresh_from_db()
    assert (comparison.n_judgments, comparison.spread, comparison.is_split) == (0, 0, False)
