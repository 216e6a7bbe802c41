import pytest

from labeling.domain.gold import make_gold
from labeling.domain.people import add_member
from labeling.models import Membership, User
from rlhf.domain.errors import NotReady
from rlhf.domain.feedback.exam import Item, grade_items, list_exam_comparisons, take_exam
from rlhf.models import AIJudgment, Annotator
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


def items(n: int, **facts) -> list[Item]:
    return [Item(**{"strengths": (-2, -2), "p": 0.9, "is_flip": False, "longer": 0} | facts)] * n


def test_an_annotator_that_agrees_as_people_do_passes():
    result = grade_items(items(90) + items(10, strengths=(-2, 2)))

    assert (result.agreement, result.people, result.flips, result.failures) == (0.95, 0.9, 0.0, ())
    assert result.is_passed


def test_two_points_behind_people_are_allowed_and_three_are_not():
    def grade(n_wrong: int) -> tuple[str, ...]:
        return grade_items(items(100 - n_wrong) + items(n_wrong, p=0.1)).failures

    assert grade(2) == ()
    assert grade(3) == (
        "agrees with people in 97.0%, they among themselves in 100.0%: at most 2 points less are allowed",
    )


def test_one_flip_in_ten_is_too_many():
    assert grade_items(items(91) + items(9, is_flip=True)).failures == ()
    assert grade_items(items(90) + items(10, is_flip=True)).failures == (
        "changes its mind with the order in 10.0%: under 10% are allowed",
    )


def test_a_taste_for_length_that_people_do_not_share_fails():
    fond_of_length = items(50, longer=-1) + items(30, longer=1, strengths=(2, 2), p=0.1) + items(20, longer=1, p=0.9)
    fonder = items(60, longer=-1) + items(34, longer=1, strengths=(2, 2), p=0.1) + items(6, longer=1, p=0.1)

    assert grade_items(fond_of_length).length_gap == 0.0
    assert "prefers the longer completion +6.0 points" in grade_items(fonder).failures[-1]


def test_ties_take_no_part():
    result = grade_items(items(1, strengths=(0, -1)) + items(1, p=0.5, strengths=(-1, -1)))

    assert (result.agreement, result.people) == (1.0, 1.0)


def test_gold_grades_the_annotator_and_says_nothing_of_how_people_agree():
    right, wrong = items(95, strengths=(), gold=-1), items(5, strengths=(), gold=1)
    people = items(7, strengths=(-2, -2)) + items(3, strengths=(-2, 2))

    result = grade_items(right + wrong + people)

    assert result.people == 0.7
    assert result.agreement == pytest.approx((95 + 14 + 3) / (100 + 20))
    assert result.is_passed


def say(annotator, comparison, p=0.9, **facts):
    return AIJudgment.objects.create(annotator=annotator, comparison=comparison, p=p, p_ab=p, p_ba=p, **facts)


@pytest.fixture
def noa(project):
    user = User.objects.create_user("noa")
    add_member(project, user, role="labeler")
    return user


def test_people_and_gold_are_what_it_is_graded_by(project, annotator, labeler, noa):
    judged = add_pairs(project, 3, overlap=2)
    for person in (labeler, noa):
        judge_all(project, person, preference=-2)
    gold = add_pairs(project, 4)[3]
    make_gold(gold, strength_min=-3, strength_max=-1, actor=None)
    assert list_exam_comparisons(annotator) == [*judged, gold]
    for comparison in [*judged, gold]:
        say(annotator, comparison)

    with pytest.raises(NotReady, match="name a winner of 4 comparisons, and people of 3 pairs of votes"):
        take_exam(annotator)
    result = take_exam(annotator, least_items=4, least_pairs=3)

    annotator.refresh_from_db()
    assert (result.n_items, result.agreement, result.people, annotator.exam) == (4, 1.0, 1.0, "passed")
    assert annotator.exam_result["failures"] == []
    assert list_exam_comparisons(annotator) == []


def test_whoever_is_in_quarantine_lowers_no_bar(project, annotator, labeler, noa):
    add_pairs(project, 3, overlap=2)
    judge_all(project, labeler, preference=-2)
    judge_all(project, noa, preference=2)
    Membership.objects.filter(user=noa).update(is_quarantined=True)

    assert list_exam_comparisons(annotator) == []


def test_an_annotator_that_names_no_winner_does_not_pass_by_default(project, annotator, labeler, noa):
    pairs = add_pairs(project, 3, overlap=2)
    for person in (labeler, noa):
        judge_all(project, person, preference=-2)
    for pair in pairs:
        say(annotator, pair, p=0.5)

    with pytest.raises(NotReady, match="name a winner of 0 comparisons"):
        take_exam(annotator, least_items=3, least_pairs=3)


def test_one_order_is_no_exam(annotator):
    Annotator.objects.update(both_orders=False)
    annotator.refresh_from_db()

    with pytest.raises(NotReady, match="is asked in one order"):
        take_exam(annotator)
