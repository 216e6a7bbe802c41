import pytest

from labeling.domain.days import count_days
from labeling.domain.errors import InvalidContent
from labeling.domain.gold import make_gold
from labeling.domain.projects import ProjectCounts, count_project, create_project, edit_project, publish_guideline
from labeling.models import Guideline, Membership, Project, User
from tests.labeling.rows import add_pairs, claim, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_whoever_makes_a_project_manages_it():
    ada = User.objects.create_user("ada")

    project = create_project(ada, name="Bakery", slug="bakery", scale="seven", overlap=2, guideline="Be kind.")

    assert Project.objects.values_list("name", "slug", "scale", "overlap").get() == ("Bakery", "bakery", "seven", 2)
    assert Membership.objects.values_list("project", "user", "role").get() == (project.pk, ada.pk, "manager")
    assert Guideline.objects.values_list("version", "text").get() == (1, "Be kind.")


def test_a_project_may_start_without_a_guideline():
    project = create_project(User.objects.create_user("ada"), name="B", slug="b", scale="quick", overlap=1)

    assert project.guidelines.count() == 0


def test_a_new_text_is_a_new_version_and_the_same_text_is_not(kitchen):
    versions = [publish_guideline(kitchen, text).version for text in ("one", "two", "two", "one")]

    assert versions == [1, 2, 2, 3]


def test_a_guideline_no_database_can_keep_is_refused(kitchen):
    with pytest.raises(InvalidContent):
        publish_guideline(kitchen, "a\x00b")


@pytest.mark.django_db(transaction=True)
def test_guidelines_published_at_once_get_a_version_each(kitchen):
    results = run_together(*[lambda n=n: publish_guideline(kitchen, f"text {n}").version for n in range(4)])

    assert sorted(results) == [1, 2, 3, 4]


def test_counts_are_of_all_labelers(kitchen, grace, hedy):
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace)
    judge(claim(kitchen, hedy), hedy)
    claim(kitchen, hedy)

    assert count_project(kitchen) == ProjectCounts(n_comparisons=3, n_judgments=2, n_open=1, n_held=1, n_labelers=2)


def test_who_only_answered_gold_labels_nothing_yet(kitchen, ada, grace):
    make_gold(add_pairs(kitchen, 1)[0], ada, strength_min=1, strength_max=3)
    kitchen.gold_share = 1.0
    assert judge(claim(kitchen, grace), grace).reason == "gold"

    assert count_project(kitchen) == ProjectCounts(n_comparisons=1, n_judgments=0, n_open=0, n_held=0, n_labelers=0)
    assert count_days(kitchen) == {}


def test_without_an_exam_its_questions_are_taken_back(kitchen, ada, grace):
    question, work = add_pairs(kitchen, 2)
    make_gold(question, ada, strength_min=1, strength_max=3, is_exam=True)
    project = edit_project(kitchen, ada, {"exam_size": 1})
    assert claim(project, grace).comparison == question

    project = edit_project(project, ada, {"exam_size": 0})

    assert claim(project, grace).comparison == work


def test_a_new_project_slips_in_gold_and_a_days_old_repeats(ada):
    project = create_project(ada, slug="new", name="New")

    assert (project.gold_share, project.repeat_share, project.repeat_after_h) == (0.05, 0.03, 24)
