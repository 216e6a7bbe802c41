import pytest

from labeling.domain.errors import InvalidContent, InvalidJudgment
from labeling.domain.judging import show_vote
from labeling.models import Comparison, Completion, Demonstration, Fix, Judgment, Project, Slot
from tests.labeling.rows import add_pair, claim, judge, revise

pytestmark = [pytest.mark.django_db, pytest.mark.database]

BETTER = "Boil it for eight minutes, then cool it in cold water."


@pytest.fixture(autouse=True)
def asks_fixes(kitchen):
    Project.objects.update(asks_fixes=True)


def test_a_fix_is_a_completion_of_hers_and_a_demonstration(kitchen, grace):
    comparison = add_pair(kitchen)

    judgment = judge(claim(kitchen, grace), grace, fix=BETTER)

    completion = Completion.objects.get(author=grace)
    assert (completion.prompt, completion.text) == (comparison.prompt, BETTER)
    assert list(Fix.objects.values_list("judgment", "completion")) == [(judgment.pk, completion.pk)]
    assert list(Demonstration.objects.values_list("completion", "imported", "line")) == [(completion.pk, None, None)]


def test_no_comparison_is_proposed_of_a_fix(kitchen, grace):
    comparison = add_pair(kitchen)

    judge(claim(kitchen, grace), grace, fix=BETTER)

    assert list(Comparison.objects.all()) == [comparison]


def test_a_fix_reads_the_same_on_the_page_again(kitchen, grace):
    add_pair(kitchen)

    judgment = judge(claim(kitchen, grace), grace, fix=BETTER)

    assert show_vote(judgment).fix == show_vote(Judgment.objects.get()).fix == BETTER


def test_the_stored_vote_knows_without_asking_that_it_came_with_no_fix(kitchen, grace, django_assert_num_queries):
    add_pair(kitchen)
    judgment = judge(claim(kitchen, grace), grace)

    with django_assert_num_queries(0):
        assert show_vote(judgment).fix == ""


def test_both_bad_may_be_fixed_though_neither_is_better(kitchen, grace):
    add_pair(kitchen)

    judge(claim(kitchen, grace), grace, 0, both_bad=True, fix=BETTER)

    assert Fix.objects.count() == 1


@pytest.mark.parametrize("fix", ["", " \n\t", "\r\n"])
def test_blank_is_no_fix(kitchen, grace, fix):
    add_pair(kitchen)

    judge(claim(kitchen, grace), grace, fix=fix)

    assert (Judgment.objects.count(), Fix.objects.count(), Completion.objects.count()) == (1, 0, 2)


@pytest.mark.parametrize(
    ("preference", "fix", "error", "says"),
    [
        (0, BETTER, InvalidJudgment, "which one is better"),
        (-2, "One\nway", InvalidJudgment, "one of the two"),
        (2, "Another way", InvalidJudgment, "one of the two"),
        (-2, "One\r\nway", InvalidJudgment, "one of the two"),  # a form's line breaks make no new text
        (-2, "a\x00b", InvalidContent, "NUL"),
        (-2, "x" * 100_001, InvalidJudgment, "100000 are the most"),
    ],
)
def test_what_cannot_be_better_than_both_is_refused_and_the_claim_kept(kitchen, grace, preference, fix, error, says):
    add_pair(kitchen, text_a="One\nway", text_b="Another way")
    slot = claim(kitchen, grace)

    with pytest.raises(error, match=says):
        judge(slot, grace, preference, fix=fix)

    assert (Judgment.objects.count(), Completion.objects.count(), Slot.objects.get().state) == (0, 2, "held")


def test_a_project_that_asks_for_no_rewriting_takes_none(kitchen, grace):
    Project.objects.update(asks_fixes=False)
    add_pair(kitchen)

    with pytest.raises(InvalidJudgment, match="no rewriting"):
        judge(claim(kitchen, grace), grace, fix=BETTER)


def test_a_text_that_is_there_already_is_not_stored_twice_nor_called_hers(kitchen, grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    add_pair(kitchen, text_a="A third way", text_b="A fourth way")

    judge(slot, grace, fix="A third way")

    assert list(Completion.objects.filter(text="A third way").values_list("author", flat=True)) == [None]
    assert Demonstration.objects.get().completion.text == "A third way"


def test_two_labelers_who_write_the_same_share_a_demonstration(kitchen, grace, hedy):
    add_pair(kitchen, overlap=2)

    for labeler in (grace, hedy):
        judge(claim(kitchen, labeler), labeler, fix=BETTER)

    assert (Fix.objects.count(), Completion.objects.filter(text=BETTER).count(), Demonstration.objects.count()) == (
        2,
        1,
        1,
    )


def test_a_revision_without_the_fix_takes_the_demonstration_back(kitchen, grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace, fix=BETTER)

    second = revise(first, grace, fix=BETTER)
    kept = Demonstration.objects.count()
    revise(second, grace)

    assert (kept, Demonstration.objects.count(), Fix.objects.count()) == (1, 0, 2)


def test_a_revised_fix_is_the_demonstration_that_stands(kitchen, grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace, fix=BETTER)

    revise(first, grace, fix="Steam it.")

    assert [row.completion.text for row in Demonstration.objects.select_related("completion")] == ["Steam it."]


def test_a_demonstration_another_labeler_stands_for_stays(kitchen, grace, hedy):
    add_pair(kitchen, overlap=2)
    first = judge(claim(kitchen, grace), grace, fix=BETTER)
    judge(claim(kitchen, hedy), hedy, fix=BETTER)

    revise(first, grace)

    assert Demonstration.objects.count() == 1
