import pytest

from labeling.domain.people import add_member
from labeling.models import Comparison, Membership, Project
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = pytest.mark.django_db


def test_home_shows_her_projects_and_her_numbers(kitchen, garden, grace, as_grace):
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace)

    answer = as_grace.get("/")

    assert [(str(row.project), row.progress.today, row.progress.left) for row in answer.context["places"]] == [
        ("Kitchen", 1, 2)
    ]
    html = answer.content.decode()
    assert 'href="/judge/kitchen/"' in html
    assert 'href="/judge/kitchen/history/"' in html


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("address", "n_queries"), [("/", 9), ("/projects/", 8)])
def test_lists_cost_the_same_for_one_and_three(grace, as_grace, django_assert_num_queries, n, address, n_queries):
    for number in range(1, n):
        project = Project.objects.create(slug=f"p{number}", name="P")
        add_member(project, grace, role="reviewer")
    Membership.objects.update(role="reviewer")

    with django_assert_num_queries(n_queries):
        as_grace.get(address)


@pytest.mark.parametrize(
    ("project", "membership", "state"),
    [
        ({}, {}, "open"),
        ({}, {"is_active": False}, "paused"),
        ({}, {"is_quarantined": True}, "open"),
        ({"is_archived": True}, {}, "archived"),
        ({"exam_size": 3}, {}, "exam_open"),
        ({"exam_size": 3}, {"exam": "failed"}, "exam_failed"),
        ({"exam_size": 3}, {"exam": "passed"}, "open"),
        ({"daily_cap": 1}, {}, "capped"),
        ({"daily_cap": 2}, {}, "open"),
    ],
)
def test_what_keeps_her_from_work(kitchen, grace, as_grace, project, membership, state):
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace)
    Project.objects.update(**project)
    Membership.objects.update(**membership)

    answer = as_grace.get("/")

    assert [place.state for place in answer.context["places"]] == [state]
    assert "quarantine" not in answer.content.decode().lower()


def test_a_paused_member_is_offered_nothing_she_would_be_refused(kitchen, grace, as_grace):
    Membership.objects.update(is_active=False)

    html = as_grace.get("/").content.decode()

    assert "paused by a manager" in html
    assert 'href="/judge/kitchen/' not in html
    assert 'href="/projects/kitchen/' not in html


def test_an_exam_stands_before_the_work(kitchen, grace, as_grace):
    Project.objects.update(exam_size=2)

    html = as_grace.get("/").content.decode()

    assert 'href="/judge/kitchen/exam/"' in html
    assert 'href="/judge/kitchen/"' not in html


@pytest.mark.database
def test_only_those_who_decide_are_told_of_disagreements(kitchen, grace, hedy, as_grace, as_ada, as_hedy):
    for number, state in enumerate(["open", "triage", "settled", "open", "open"]):
        pair = add_pair(kitchen, f"question {number}")
        Comparison.objects.filter(pk=pair.pk).update(state=state, spread=number)
    Membership.objects.filter(user=hedy).update(role="reviewer")

    assert "to decide" not in as_grace.get("/").content.decode()
    assert "3 disagreements to decide" in as_ada.get("/").content.decode()
    assert "3 disagreements to decide" in as_hedy.get("/").content.decode()


def test_only_managers_see_the_half_where_models_learn(as_grace, as_ada):
    assert "/loop/progress/" not in as_grace.get("/").content.decode()
    assert 'hx-get="/loop/progress/"' in as_ada.get("/").content.decode()
    assert 'href="/checkpoints/"' not in as_grace.get("/").content.decode()
    assert 'href="/checkpoints/"' in as_ada.get("/").content.decode()


def test_judge_leads_to_the_only_project_and_later_to_the_last_one(kitchen, garden, grace, as_grace):
    assert as_grace.get("/judge/").url == "/judge/kitchen/"
    add_member(garden, grace, role="labeler")
    assert as_grace.get("/judge/").url == "/"
    add_pair(garden)
    judge(claim(garden, grace), grace)
    assert as_grace.get("/judge/").url == "/judge/garden/"


def test_signup_is_closed(client):
    html = client.get("/accounts/signup/").content.decode()

    assert "Sign-up is closed" in html
    assert "<input" not in html


def test_the_login_leads_home(client, kitchen):
    make_member(kitchen, "joan")

    answer = client.post("/accounts/login/", {"login": "joan", "password": "correct horse"})

    assert (answer.status_code, answer.url) == (302, "/")
