import pytest

from labeling.domain.assignment import claim_slot
from labeling.domain.errors import AlreadyGraded, ClaimLost, InvalidJudgment
from labeling.domain.exams import grade_exam, list_answers, retake_exam, waive_exam
from labeling.domain.gold import make_gold
from labeling.domain.skipping import skip_comparison
from labeling.models import Comparison, Judgment, Membership, Project, Skip, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise, trail

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def exam(kitchen, ada):
    """Two questions to be answered, of four there are; A is right in all of them."""
    Project.objects.update(exam_size=2, exam_pass_share=0.5)
    for comparison in add_pairs(kitchen, 4):
        make_gold(comparison, ada, strength_min=-3, strength_max=-1, explanation="A is.", is_exam=True)
    add_pair(kitchen, "work")
    trail().delete()
    kitchen.refresh_from_db()
    return kitchen


def answer(project, labeler, *, right):
    slot = claim(project, labeler)
    assert slot.reason == "exam"
    strength = -2 if right else 2
    return judge(slot, labeler, strength if slot.a_shown_left else -strength)


def membership_of(labeler):
    return Membership.objects.select_related("project", "user").get(user=labeler)


@pytest.mark.parametrize(
    ("rights", "share", "expected"),
    [
        ([True, True], 1.0, "passed"),
        ([True, False], 0.5, "passed"),
        ([True, False], 0.51, "failed"),
        ([False, False], 0.0, "passed"),
        ([True], 0.5, "open"),
    ],
)
def test_the_last_answer_decides_the_exam(exam, grace, rights, share, expected):
    Project.objects.update(exam_pass_share=share)

    for right in rights:
        answer(exam, grace, right=right)

    assert membership_of(grace).exam == expected


def test_seven_of_ten_pass_at_seven_tenths(exam, ada, grace):
    Project.objects.update(exam_size=10, exam_pass_share=0.7)
    exam.refresh_from_db()
    for number in range(6):
        comparison = add_pair(exam, f"more {number}")
        make_gold(comparison, ada, strength_min=-3, strength_max=-1, is_exam=True)

    for number in range(10):
        answer(exam, grace, right=number < 7)

    assert membership_of(grace).exam == "passed"


def test_the_trail_keeps_the_result(exam, grace):
    for right in (True, False):
        answer(exam, grace, right=right)

    event = trail().get()
    assert (event.verb, event.subject, event.actor, event.project) == ("exam.grade", "grace", None, exam)
    assert (event.before, event.after) == ({"exam": "open"}, {"exam": "passed", "right": 1, "of": 2})


def test_an_exam_is_graded_once(exam, grace):
    stale = membership_of(grace)
    for _ in range(2):
        answer(exam, grace, right=True)

    again = grade_exam(stale)

    assert (again.exam, trail().count()) == ("passed", 1)


def test_who_passed_is_given_work_and_who_failed_nothing(exam, grace, hedy):
    for _ in range(2):
        answer(exam, grace, right=True)
        answer(exam, hedy, right=False)

    assert claim(exam, grace).comparison.prompt.messages[0]["content"] == "work"
    assert claim_slot(exam, hedy) is None


def test_a_second_try_counts_only_new_answers(exam, ada, grace):
    for _ in range(2):
        answer(exam, grace, right=False)
    membership = retake_exam(membership_of(grace), ada)
    opened = (membership.exam, list_answers(membership))
    answer(exam, grace, right=True)
    halfway = membership_of(grace).exam

    answer(exam, grace, right=True)

    assert (opened, halfway, membership_of(grace).exam) == (("open", []), "open", "passed")
    assert list(trail().values_list("verb", flat=True)) == ["exam.grade", "exam.retake", "exam.grade"]
    assert Judgment.objects.filter(labeler=grace, reason="exam").count() == 4


def test_an_exam_that_is_open_cannot_be_opened_again(exam, ada, grace):
    answer(exam, grace, right=True)

    membership = retake_exam(membership_of(grace), ada)

    assert (membership.exam, membership.exam_from, trail().count()) == ("open", 0, 0)


def test_a_manager_lets_someone_in_without(exam, ada, grace):
    membership = waive_exam(membership_of(grace), ada)

    assert membership.exam == "waived"
    assert claim(exam, grace).reason == "random"
    assert trail().values_list("verb", "actor").get() == ("exam.waive", ada.pk)


def test_whoever_is_let_in_at_a_question_is_given_work(exam, ada, grace):
    assert claim(exam, grace).reason == "exam"

    waive_exam(membership_of(grace), ada)

    assert claim(exam, grace).reason == "random"


def test_a_question_of_an_exam_cannot_be_skipped(exam, grace):
    """Or she would be left with too few of them, and with no work."""
    slot = claim(exam, grace)

    with pytest.raises(InvalidJudgment, match="cannot be skipped"):
        skip_comparison(slot.pk, grace, lease_token=slot.lease_token, reason="language")

    assert (claim(exam, grace), Skip.objects.count()) == (slot, 0)


def test_two_managers_at_once_make_one_event(exam, ada, grace):
    first, second = membership_of(grace), membership_of(grace)

    states = [waive_exam(first, ada).exam, waive_exam(second, ada).exam]

    assert (states, trail().count()) == (["waived", "waived"], 1)


def test_the_answers_are_shown_after_the_exam_and_not_before(exam, grace):
    first = answer(exam, grace, right=True)
    before = list_answers(membership_of(grace))
    second = answer(exam, grace, right=False)

    after = list_answers(membership_of(grace))

    assert before == []
    assert [(row.judgment, row.is_right, row.strength_min, row.strength_max, row.explanation) for row in after] == [
        (first, True, -3, -1, "A is."),
        (second, False, -3, -1, "A is."),
    ]


def test_the_answers_take_as_many_queries_for_two_as_for_four(exam, ada, grace, django_assert_max_num_queries):
    Project.objects.update(exam_size=4)
    exam.refresh_from_db()
    for _ in range(4):
        answer(exam, grace, right=True)
    membership = membership_of(grace)

    with django_assert_max_num_queries(1):
        shown = [(row.judgment.comparison.prompt.messages, row.explanation) for row in list_answers(membership)]

    assert len(shown) == 4


def test_an_answer_may_be_changed_until_the_exam_is_graded(exam, grace):
    first = answer(exam, grace, right=False)
    revised = revise(first, grace, -2 if first.a_shown_left else 2)
    last = answer(exam, grace, right=True)

    with pytest.raises(AlreadyGraded):
        revise(last, grace, 0)

    answers = list_answers(membership_of(grace))
    assert [(row.judgment, row.is_right) for row in answers] == [(revised, True), (last, True)]


def test_answers_of_an_earlier_try_cannot_be_changed_into_the_next(exam, ada, grace):
    first = answer(exam, grace, right=False)
    answer(exam, grace, right=False)
    retake_exam(membership_of(grace), ada)

    with pytest.raises(AlreadyGraded):
        revise(first, grace, -2)


def test_an_exam_counts_toward_nothing_else(exam, grace):
    answer(exam, grace, right=True)

    judged = Comparison.objects.filter(judgments__isnull=False).get()
    assert (judged.n_judgments, judged.spread, list(judged.slots.of_work().values_list("state", flat=True))) == (
        0,
        0,
        ["shut"],
    )


def test_an_answer_whose_place_is_gone_is_refused_and_never_an_extra(exam, grace):
    slot = claim(exam, grace)
    Slot.objects.filter(pk=slot.pk).free_up()

    with pytest.raises(ClaimLost):
        judge(slot, grace)

    assert Judgment.objects.count() == 0
