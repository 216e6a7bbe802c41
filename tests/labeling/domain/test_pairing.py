import random
from itertools import groupby

import pytest

from labeling.domain.errors import IdenticalCompletions, InvalidContent
from labeling.domain.pairing import Pair, add_prompt, propose_comparison, propose_comparisons
from labeling.models import Comparison, Completion, Prompt, Slot
from tests.labeling.rows import add_pair, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


def make_pair(number, **changes):
    messages = [{"role": "user", "content": f"question {number}"}]
    return Pair(**{"messages": messages, "text_a": f"yes {number}", "text_b": f"no {number}"} | changes)


def count_rows():
    return [model.objects.count() for model in (Prompt, Completion, Comparison, Slot)]


def test_a_prompt_is_its_content(kitchen):
    first = add_prompt(kitchen, QUESTION)

    again = add_prompt(kitchen, QUESTION, group="elsewhere")

    assert (again.pk, again.group) == (first.pk, first.content_sha[:32])


def test_a_group_can_be_given(kitchen):
    assert add_prompt(kitchen, QUESTION, group="tree-7").group == "tree-7"


@pytest.mark.parametrize("group", ["", "x" * 65, "\x00"])
def test_a_group_no_column_can_hold_is_refused(kitchen, group):
    with pytest.raises(InvalidContent):
        add_prompt(kitchen, QUESTION, group=group)


def test_a_pair_becomes_a_comparison_with_its_slots(kitchen):
    prompt = add_prompt(kitchen, QUESTION)

    comparison = propose_comparison(
        prompt, "Scattering.", "Magic.", overlap=3, priority=5, reason="active", propensity=0.25
    )

    assert (comparison.completion_a.text, comparison.completion_b.text) == ("Scattering.", "Magic.")
    slots = comparison.slots.order_by("number").values_list(
        "project", "number", "priority", "state", "reason", "propensity"
    )
    assert list(slots) == [(kitchen.pk, number, 5, "free", "active", 0.25) for number in range(3)]


def test_the_same_content_is_the_stored_comparison_unchanged(kitchen):
    first = add_pair(kitchen, text_a="x", text_b="y", overlap=2, priority=1)
    rows = count_rows()

    again = add_pair(kitchen, text_a="y", text_b="x", overlap=5, priority=9)

    assert (again.pk, again.overlap, again.priority, again.completion_a.text) == (first.pk, 2, 1, "x")
    assert count_rows() == rows


def test_identical_completions_are_refused(kitchen):
    with pytest.raises(IdenticalCompletions):
        add_pair(kitchen, text_a="same", text_b="same")

    assert Comparison.objects.count() == 0


def test_an_empty_completion_can_be_compared(kitchen):
    assert add_pair(kitchen, text_a="", text_b="something").completion_a.text == ""


def test_one_bad_pair_among_many_stores_none(kitchen):
    pairs = [make_pair(number) for number in range(600)] + [make_pair(600, text_b="no\x00")]

    with pytest.raises(InvalidContent) as refusal:
        propose_comparisons(kitchen, pairs)

    assert str(refusal.value) == "pair 601: completion B holds a NUL character at position 2: remove it"
    assert count_rows() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "changes", [{"overlap": 101}, {"overlap": -1}, {"propensity": 0}, {"propensity": 1.5}, {"reason": "mood"}]
)
def test_numbers_the_queue_cannot_hold_are_refused(kitchen, changes):
    with pytest.raises(InvalidContent):
        propose_comparisons(kitchen, [make_pair(1, **changes)])


def test_many_pairs_come_back_in_order_with_repeats_as_one(kitchen):
    pairs = [make_pair(2), make_pair(1), make_pair(2), make_pair(3, messages=QUESTION), make_pair(4, messages=QUESTION)]

    comparisons = propose_comparisons(kitchen, pairs)

    assert [row.completion_a.text for row in comparisons] == ["yes 2", "yes 1", "yes 2", "yes 3", "yes 4"]
    assert count_rows() == [3, 8, 4, 4]


def test_an_overlap_not_given_is_the_projects(kitchen):
    kitchen.overlap = 4
    kitchen.save()

    propose_comparisons(kitchen, [make_pair(1), make_pair(2, overlap=1), make_pair(3, overlap=0)])

    assert [row.slots.count() for row in Comparison.objects.order_by("id")] == [4, 1, 0]


def test_three_hundred_pairs_cost_a_handful_of_queries(kitchen, django_assert_max_num_queries):
    with django_assert_max_num_queries(25):
        propose_comparisons(kitchen, [make_pair(number, overlap=1) for number in range(300)])

    assert Slot.objects.count() == 300


def test_sides_alternate_between_the_slots_of_a_comparison(kitchen):
    propose_comparisons(kitchen, [make_pair(number, overlap=4) for number in range(20)])

    rows = Slot.objects.order_by("comparison", "number").values_list("comparison", "a_shown_left")
    patterns = {tuple(side for _, side in slots) for _, slots in groupby(rows, key=lambda row: row[0])}
    assert patterns == {(True, False, True, False), (False, True, False, True)}


def test_each_content_is_shown_left_half_of_the_time(kitchen):
    propose_comparisons(kitchen, [make_pair(number) for number in range(2000)], rng=random.Random(7))

    assert 0.47 < Slot.objects.filter(a_shown_left=True).count() / 2000 < 0.53


def test_the_same_seed_makes_the_same_queue(kitchen, garden):
    for project in (kitchen, garden):
        propose_comparisons(project, [make_pair(number) for number in range(30)], rng=random.Random(3))

    first, second = (
        list(
            Slot.objects.filter(project=project).order_by("comparison", "number").values_list("a_shown_left", "shuffle")
        )
        for project in (kitchen, garden)
    )
    assert first == second


@pytest.mark.django_db(transaction=True)
def test_writers_of_the_same_pairs_store_them_once(kitchen):
    pairs = [make_pair(number, overlap=2) for number in range(40)]

    results = run_together(*[lambda: [row.pk for row in propose_comparisons(kitchen, pairs)]] * 4)

    assert results == [results[0]] * 4
    assert count_rows() == [40, 80, 40, 80]
