import pytest

from labeling.domain.exams import retake_exam, waive_exam
from labeling.domain.gold import make_gold
from labeling.models import Membership, Project, Slot
from tests.labeling.rows import add_pair, claim, judge

pytestmark = pytest.mark.django_db

PAGE = "/judge/kitchen/exam/"


@pytest.fixture
def exam(kitchen, ada, grace):
    """Two questions whose right answer is A, and an ordinary pair."""
    Project.objects.update(exam_size=2, exam_pass_share=0.5)
    kitchen.refresh_from_db()
    for number in range(2):
        pair = add_pair(kitchen, f"question {number}")
        make_gold(pair, ada, strength_min=-3, strength_max=-2, explanation="A <b>salts</b> it.", is_exam=True)
    add_pair(kitchen, "ordinary")
    return kitchen


def answer_exam(project, labeler, *rights):
    """Answer the next questions, right or wrong."""
    for is_right in rights:
        slot = claim(project, labeler)
        judge(slot, labeler, preference=-2 if slot.a_shown_left == is_right else 2, scale="seven")


def test_before_it_starts_it_says_what_it_is(exam, as_grace):
    html = as_grace.get(PAGE).content.decode()

    assert "You judge 2 pairs whose right answers are known" in html
    assert "at least 50 % are right" in html
    assert "0 of 2 judged" in html
    assert "salts" not in html


def test_midway_it_says_how_far_she_is_and_nothing_of_right_and_wrong(exam, grace, as_grace):
    answer_exam(exam, grace, True)

    html = as_grace.get(PAGE).content.decode()

    assert "1 of 2 judged" in html
    assert not any(word in html for word in ("salts", "question", "not right", "Your answers"))


def test_passed_it_shows_each_answer_with_its_explanation(exam, grace, as_grace):
    answer_exam(exam, grace, True, False)

    answer = as_grace.get(PAGE)

    html = answer.content.decode()
    assert Membership.objects.get(user=grace).exam == "passed"
    assert "You passed" in html
    assert "1 of 2 right" in html
    assert html.count("A &lt;b&gt;salts&lt;/b&gt; it.") == 2
    assert [shown.is_right for shown in answer.context["answers"]] == [True, False]


@pytest.mark.parametrize("a_shown_left", [True, False])
def test_answers_are_in_the_words_of_the_page_she_saw(exam, grace, as_grace, a_shown_left):
    for _ in range(2):
        slot = claim(exam, grace)
        Slot.objects.filter(pk=slot.pk).update(a_shown_left=a_shown_left)
        judge(slot, grace, preference=-1 if a_shown_left else 1, scale="seven")

    shown = as_grace.get(PAGE).context["answers"][0]

    words = {
        True: ("A is slightly better", ("A is much better", "A is better")),
        False: ("B is slightly better", ("B is better", "B is much better")),
    }
    assert (shown.said, shown.right, shown.is_right) == (*words[a_shown_left], False)
    assert shown.pair.left.text.startswith("A" if a_shown_left else "B")


def test_failed_it_says_whom_to_ask_and_after_that_it_starts_anew(exam, ada, grace, as_grace):
    answer_exam(exam, grace, False, False)

    failed = as_grace.get(PAGE).content.decode()
    retake_exam(Membership.objects.get(user=grace), ada)
    again = as_grace.get(PAGE).content.decode()

    assert "Not passed this time" in failed
    assert "ask a manager" in failed
    assert "salts" in failed
    assert "0 of 2 judged" in again
    assert "salts" not in again


def test_whoever_needs_none_is_told_so(exam, ada, grace, as_grace):
    waive_exam(Membership.objects.get(user=grace), ada)
    waived = as_grace.get(PAGE).content.decode()
    Project.objects.update(exam_size=0)
    none = as_grace.get(PAGE).content.decode()

    assert "You need no exam" in waived
    assert "This project asks for no exam" in none


@pytest.mark.parametrize("n", [1, 3])
def test_the_result_costs_the_same_for_one_and_three(kitchen, ada, grace, as_grace, django_assert_num_queries, n):
    Project.objects.update(exam_size=n)
    kitchen.refresh_from_db()
    for number in range(n):
        make_gold(add_pair(kitchen, f"q{number}"), ada, strength_min=-3, strength_max=-1, is_exam=True)
    answer_exam(kitchen, grace, *[True] * n)

    with django_assert_num_queries(7):
        answer = as_grace.get(PAGE)

    assert len(answer.context["answers"]) == n


def test_nobody_else_sees_it(exam, grace, as_hedy, as_eve):
    answer_exam(exam, grace, True, True)

    assert as_eve.get(PAGE).status_code == 404
    assert "salts" not in as_hedy.get(PAGE).content.decode()
