import math
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.assignment import EmptyReason, claim_slot, explain_empty, release_slot
from labeling.domain.errors import InvalidContent
from labeling.domain.gold import make_gold
from labeling.domain.overlap import shut_slots
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.domain.scoring import score_comparisons
from labeling.domain.selection import draw_strategies
from labeling.domain.skipping import skip_comparison
from labeling.domain.turns import RNG, Turn
from labeling.models import Comparison, Judgment, Membership, Project, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]

# A claim draws whether to sweep, which probe, and whether by chance.
PROBE_NEXT = 7


def change(project, **facts):
    Project.objects.filter(pk=project.pk).update(**facts)
    project.refresh_from_db()


def join(project, labeler, **facts):
    Membership.objects.filter(project=project, user=labeler).update(**facts)


def add_gold(project, actor, question, **facts):
    comparison = add_pair(project, question)
    make_gold(comparison, actor, strength_min=-3, strength_max=-1, **facts)
    return comparison


def add_of_slice(project, question, **slices):
    messages = [{"role": "user", "content": question}]
    return propose_comparisons(project, [Pair(messages=messages, text_a="a", text_b="b", **slices)])[0]


def describe(slot):
    return slot.comparison_id, slot.reason, round(slot.propensity, 3)


def test_strategies_are_drawn_in_their_shares(kitchen, grace):
    change(kitchen, gold_share=0.2, repeat_share=0.1, random_share=0.3, strategy="score")
    turn = Turn(kitchen, grace, Membership.objects.get(user=grace))

    drawn = Counter(tuple(strategy.__name__ for strategy in draw_strategies(turn)) for _ in range(20_000))

    firsts = Counter(
        {name: sum(n for names, n in drawn.items() if names[0] == name) for names in drawn for name in names}
    )
    shares = {name: round(n / 20_000, 1) for name, n in firsts.items()}
    assert shares == {"find_gold": 0.2, "find_repeat": 0.1, "find_random": 0.3, "find_best": 0.4}
    assert {names[-1] for names in drawn} == {"find_random", "find_best"}


def test_shares_that_leave_no_room_leave_work_to_chance(kitchen, grace):
    change(kitchen, gold_share=0.5, repeat_share=0.4, random_share=0.3)
    turn = Turn(kitchen, grace, Membership.objects.get(user=grace))

    assert {draw_strategies(turn)[-1].__name__ for _ in range(200)} == {"find_random"}


def test_work_of_equal_priority_keeps_why_it_was_proposed(kitchen, grace):
    comparison = add_pair(kitchen, reason="active", propensity=0.25)

    assert describe(claim(kitchen, grace)) == (comparison.pk, "active", 0.25)


def test_work_of_higher_priority_says_so(kitchen, grace):
    urgent = add_pairs(kitchen, 3, priority=2)
    add_pair(kitchen, "calm")

    slot = claim(kitchen, grace)

    assert slot.comparison in urgent
    # gold takes 0.05 of claims and chance 0.1, so of claims of work priority has 0.85 / 0.95.
    assert describe(slot)[1:] == ("priority", 0.891)
    assert describe(Slot.objects.get(pk=slot.pk)) == describe(slot)


def test_chance_passes_priority_over(kitchen, grace):
    change(kitchen, random_share=1)
    add_pairs(kitchen, 2, priority=2)
    Slot.objects.update(shuffle=9)
    calm = add_pair(kitchen, "calm")
    Slot.objects.filter(comparison=calm).update(shuffle=1)

    first, second = claim(kitchen, grace), None
    judge(first, grace)
    second = claim(kitchen, grace)

    assert describe(first) == (calm.pk, "random", 1.0)
    assert describe(second)[1:] == ("random", 1.0)


def test_the_highest_score_is_claimed_first(kitchen, grace, hedy):
    change(kitchen, strategy="score")
    low, high, middle = add_pairs(kitchen, 3)

    assert score_comparisons(kitchen, {low.pk: 0.1, high.pk: 0.9, middle.pk: 0.5, 10**9: 1.0}) == 3

    slots = [claim(kitchen, grace), claim(kitchen, hedy)]
    assert [describe(slot) for slot in slots] == [(high.pk, "active", 0.891), (middle.pk, "active", 0.891)]
    assert list(Comparison.objects.order_by("pk").values_list("score", flat=True)) == [0.1, 0.9, 0.5]


def test_what_was_raised_comes_before_every_score_and_what_was_lowered_after(kitchen, grace):
    change(kitchen, strategy="score")
    lowered, low, high, raised = add_pairs(kitchen, 4)
    for row, priority in ((lowered, -1), (raised, 100)):
        Slot.objects.filter(comparison=row).update(priority=priority)
    score_comparisons(kitchen, {lowered.pk: 0.9, low.pk: 0.1, high.pk: 0.5, raised.pk: 0.0})

    given = []
    for _ in range(4):
        slot = claim(kitchen, grace)
        judge(slot, grace)
        given.append(slot.comparison)

    assert given == [raised, high, low, lowered]


def test_scores_of_other_projects_and_done_slots_stay(kitchen, garden, grace):
    elsewhere = add_pair(garden)
    comparison = add_pair(kitchen, overlap=2)
    judge(claim(kitchen, grace), grace)

    assert score_comparisons(kitchen, {elsewhere.pk: 1.0, comparison.pk: 0.5}) == 1

    assert Comparison.objects.get(pk=elsewhere.pk).score == 0
    assert sorted(comparison.slots.values_list("state", "score")) == [("done", 0.0), ("free", 0.5)]


def test_a_score_is_a_number(kitchen):
    comparison = add_pair(kitchen)

    with pytest.raises(InvalidContent):
        score_comparisons(kitchen, {comparison.pk: math.nan})


def test_gold_is_slipped_in_and_looks_like_work(kitchen, ada, grace):
    change(kitchen, gold_share=0.5)
    gold = add_gold(kitchen, ada, "gold?")
    add_pairs(kitchen, 3)
    RNG.seed(PROBE_NEXT)

    slot = claim(kitchen, grace)

    assert describe(slot) == (gold.pk, "gold", 0.5)
    assert (slot.state, slot.labeler, slot.number) == ("held", grace, Slot.PROBE_NUMBER + grace.pk)
    assert slot.lease_until - slot.shown_at == timedelta(seconds=kitchen.lease_s)
    assert (judge(slot, grace).reason, Comparison.objects.get(pk=gold.pk).n_judgments) == ("gold", 0)


def test_every_labeler_meets_the_same_gold_once(kitchen, ada, grace, hedy):
    change(kitchen, gold_share=0.5)
    gold = add_gold(kitchen, ada, "gold?")
    work = add_pairs(kitchen, 6)

    given = {labeler: [] for labeler in (grace, hedy)}
    for labeler, seen in given.items():
        while slot := claim_slot(kitchen, labeler):
            seen.append(slot.comparison)
            judge(slot, labeler)

    assert given[grace].count(gold) <= 1
    assert Counter(given[grace] + given[hedy])[gold] == Judgment.objects.filter(reason="gold").count()
    assert Counter(row for row in given[grace] + given[hedy] if row != gold) == Counter(work)


@pytest.mark.parametrize("facts", [{"is_exam": True}, {"is_active": False}])
def test_exam_questions_and_dropped_gold_are_no_gold(kitchen, ada, grace, facts):
    change(kitchen, gold_share=0.5)
    comparison = add_gold(kitchen, ada, "gold?")
    comparison.gold.__class__.objects.update(**facts)
    RNG.seed(PROBE_NEXT)

    assert claim_slot(kitchen, grace) is None


def test_a_probe_waits_for_its_labeler_and_is_put_by_when_she_passes_it_on(kitchen, ada, grace):
    change(kitchen, gold_share=0.5)
    add_gold(kitchen, ada, "gold?")
    RNG.seed(PROBE_NEXT)
    slot = claim(kitchen, grace)
    Slot.objects.filter(pk=slot.pk).update(lease_until=timezone.now() - timedelta(days=1))

    assert claim(kitchen, grace).pk == slot.pk
    skip_comparison(slot.pk, grace, lease_token=slot.lease_token, reason="language")

    assert Slot.objects.values_list("state", "labeler").get(pk=slot.pk) == ("shut", None)
    RNG.seed(PROBE_NEXT)
    assert claim_slot(kitchen, grace) is None


def test_a_judgment_is_repeated_once_the_other_way_round(kitchen, grace):
    change(kitchen, repeat_share=0.5, gold_share=0)
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)
    RNG.seed(PROBE_NEXT)
    assert claim_slot(kitchen, grace) is None  # too soon
    change(kitchen, repeat_after_h=0)
    RNG.seed(PROBE_NEXT)

    slot = claim(kitchen, grace)

    assert describe(slot) == (first.comparison_id, "repeat", 0.5)
    assert slot.a_shown_left is not first.a_shown_left
    assert judge(slot, grace).reason == "repeat"
    RNG.seed(PROBE_NEXT)
    assert claim_slot(kitchen, grace) is None
    assert Judgment.objects.count() == 2


def test_gold_and_other_peoples_judgments_are_not_repeated(kitchen, ada, grace, hedy):
    change(kitchen, repeat_share=0.5, gold_share=0.5, repeat_after_h=0)
    add_gold(kitchen, ada, "gold?")
    RNG.seed(PROBE_NEXT)
    assert judge(claim(kitchen, grace), grace).reason == "gold"
    change(kitchen, gold_share=0)
    add_pair(kitchen)
    judge(claim(kitchen, hedy), hedy)
    RNG.seed(PROBE_NEXT)

    assert claim_slot(kitchen, grace) is None


def test_the_exam_comes_before_work(kitchen, ada, grace, hedy):
    change(kitchen, exam_size=2)
    questions = {add_gold(kitchen, ada, f"exam {number}", is_exam=True).pk for number in range(3)}
    add_pair(kitchen)
    join(kitchen, hedy, exam="waived")

    slots = []
    for _ in range(2):
        slots.append(claim(kitchen, grace))
        judge(slots[-1], grace, -2 if slots[-1].a_shown_left else 2, scale="seven")

    assert {describe(slot)[1:] for slot in slots} == {("exam", 1.0)}
    assert {slot.comparison_id for slot in slots} < questions
    assert Membership.objects.get(user=grace).exam == "passed"
    assert claim(kitchen, hedy).reason == "random"


def test_an_exam_without_questions_says_so_and_gives_no_work(kitchen, ada, grace):
    change(kitchen, exam_size=2)
    add_gold(kitchen, ada, "exam", is_exam=True)
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)

    assert claim_slot(kitchen, grace) is None
    assert explain_empty(kitchen, grace) == EmptyReason.EXAM_SHORT
    join(kitchen, grace, exam="waived")
    assert claim(kitchen, grace).reason == "random"


def test_whoever_failed_the_exam_is_given_nothing(kitchen, grace):
    change(kitchen, exam_size=2)
    add_pair(kitchen)
    join(kitchen, grace, exam="failed")

    assert claim_slot(kitchen, grace) is None
    assert explain_empty(kitchen, grace) == EmptyReason.EXAM_FAILED


@pytest.mark.parametrize(
    ("facts", "given"),
    [
        ({}, {"plain", "code", "code de", "chat de", "de", "chat"}),
        ({"languages": ["en"]}, {"plain", "code", "chat"}),
        ({"languages": ["de"]}, {"plain", "code", "code de", "chat de", "de", "chat"}),
        ({"slices": ["code"]}, {"plain", "code", "code de", "de"}),
        ({"declined": ["code"]}, {"plain", "chat de", "de", "chat"}),
        ({"languages": ["en"], "slices": ["chat"], "declined": ["chat"]}, {"plain"}),
    ],
)
def test_comparisons_go_to_those_who_read_their_language_and_have_their_skill(kitchen, grace, facts, given):
    add_pair(kitchen, "plain")
    add_of_slice(kitchen, "code", slice_name="code")
    add_of_slice(kitchen, "code de", slice_name="code", language="de")
    add_of_slice(kitchen, "chat de", slice_name="chat", language="de")
    add_of_slice(kitchen, "de", language="de")
    add_of_slice(kitchen, "chat", slice_name="chat")
    join(kitchen, grace, **facts)

    asked = set()
    while slot := claim_slot(kitchen, grace):
        asked.add(slot.comparison.prompt.messages[0]["content"])
        judge(slot, grace)

    assert asked == given
    reason = EmptyReason.ALL_DONE if len(given) == 6 else EmptyReason.OTHER_SLICES
    assert explain_empty(kitchen, grace) == reason


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_queue_is_in_order_across_slices(kitchen, grace, share):
    change(kitchen, random_share=share)
    for name in ("", "code", "chat"):
        for number in range(4):
            add_of_slice(kitchen, f"{name} {number}", slice_name=name, overlap=2)
    slots = Slot.objects.order_by("number", "shuffle", "id").values_list("comparison", flat=True)
    expected = list(slots)[:12]

    claimed = []
    while len(claimed) < 12:
        claimed.append(claim(kitchen, grace))
        judge(claimed[-1], grace)

    assert [slot.comparison_id for slot in claimed] == expected


def test_gold_of_other_slices_is_not_slipped_in(kitchen, ada, grace):
    change(kitchen, gold_share=0.5)
    comparison = add_of_slice(kitchen, "gold?", slice_name="code")
    make_gold(comparison, ada, strength_min=1, strength_max=3)
    join(kitchen, grace, slices=["chat"])
    RNG.seed(PROBE_NEXT)

    assert claim_slot(kitchen, grace) is None


@pytest.mark.parametrize(
    ("facts", "n_given"),
    [({}, 1), ({"languages": ["en"]}, 0), ({"slices": ["chat"]}, 0), ({"declined": ["code"]}, 0)],
)
def test_only_what_she_still_judges_is_repeated(kitchen, grace, facts, n_given):
    change(kitchen, repeat_share=0.5, gold_share=0, repeat_after_h=0)
    add_of_slice(kitchen, "code de", slice_name="code", language="de")
    judge(claim(kitchen, grace), grace)
    join(kitchen, grace, **facts)
    RNG.seed(PROBE_NEXT)

    assert len([slot for slot in [claim_slot(kitchen, grace)] if slot]) == n_given


def test_a_released_slot_of_work_can_be_claimed_again(kitchen, grace):
    change(kitchen, strategy="score")
    add_pair(kitchen, reason="random", propensity=0.5)
    slot = claim(kitchen, grace)
    release_slot(slot, grace)

    again = claim(kitchen, grace)

    assert describe(again) == describe(slot) == (slot.comparison_id, "active", 0.446)


@pytest.mark.django_db(transaction=True)
def test_eight_tabs_get_one_probe(kitchen, ada, grace):
    change(kitchen, gold_share=0.5)
    for number in range(5):
        add_gold(kitchen, ada, f"gold {number}")
    add_pairs(kitchen, 8)

    results = run_together(*[lambda: claim_slot(kitchen, grace)] * 8)

    assert [result for result in results if isinstance(result, Exception)] == []
    assert Slot.objects.held_by(grace).count() == 1


def test_shut_slots_are_not_claimed(kitchen, grace):
    comparison = add_pair(kitchen)
    shut_slots([comparison.pk])

    assert claim_slot(kitchen, grace) is None
