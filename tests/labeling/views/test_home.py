import pytest

from labeling.domain.people import add_member
from labeling.models import Project
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = pytest.mark.django_db


def test_home_shows_her_projects_and_her_numbers(kitchen, garden, grace, as_grace):
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace)

    answer = as_grace.get("/")

    assert [(str(project), progress.today, progress.left) for project, progress in answer.context["desks"]] == [
        ("Kitchen", 1, 2)
    ]
    assert 'href="/judge/kitchen/"' in answer.content.decode()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("address", ["/", "/projects/"])
def test_lists_cost_the_same_for_one_and_three(grace, as_grace, django_assert_num_queries, n, address):
    for number in range(1, n):
        project = Project.objects.create(slug=f"p{number}", name="P")
        add_member(project, grace, role="labeler")

    with django_assert_num_queries(8):
        as_grace.get(address)


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
