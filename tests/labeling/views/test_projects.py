import pytest

from labeling.domain.projects import publish_guideline
from labeling.models import Guideline, Membership, Project, User
from tests.labeling.conftest import log_in
from tests.labeling.rows import add_pairs

pytestmark = pytest.mark.django_db

NEW = {"name": "Bakery", "slug": "bakery", "scale": "seven", "overlap": "2", "guideline": "Be kind."}


def test_a_manager_makes_a_project(ada, as_ada):
    answer = as_ada.post("/projects/", NEW)

    assert answer.url == "/projects/bakery/"
    assert Membership.objects.values_list("user", "role").get(project__slug="bakery") == (ada.pk, "manager")


def test_a_labeler_makes_none(as_grace):
    assert as_grace.post("/projects/", NEW).status_code == 403
    assert not Project.objects.filter(slug="bakery").exists()


@pytest.mark.parametrize(
    "changes", [{"slug": "kitchen"}, {"slug": "a b"}, {"name": ""}, {"overlap": "0"}, {"overlap": "101"}]
)
def test_a_project_that_cannot_be_is_refused_with_the_reason(as_ada, changes):
    answer = as_ada.post("/projects/", NEW | changes)

    assert answer.status_code == 422
    assert 'class="errorlist"' in answer.content.decode()


def test_labelers_see_their_own_numbers_and_managers_all(kitchen, as_grace, as_ada):
    add_pairs(kitchen, 3)

    mine, all_of_them = (client.get("/projects/kitchen/").content.decode() for client in (as_grace, as_ada))

    assert ("Your work" in mine, "All labelers" in mine, "Publish" in mine) == (True, False, False)
    assert ("Your work" in all_of_them, "All labelers" in all_of_them, "Publish" in all_of_them) == (False, True, True)


def test_a_guideline_is_rendered_safe(kitchen, as_grace):
    publish_guideline(kitchen, "Be **kind**. <script>alert(1)</script>")

    html = as_grace.get("/projects/kitchen/").content.decode()

    assert "Be <strong>kind</strong>. &lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_only_managers_publish_a_guideline(kitchen, as_grace, as_ada):
    assert as_grace.post("/projects/kitchen/guidelines/", {"text": "Mine."}).status_code == 403
    assert as_ada.post("/projects/kitchen/guidelines/", {"text": ""}).status_code == 422
    assert as_ada.post("/projects/kitchen/guidelines/", {"text": "Ours."}).url == "/projects/kitchen/"
    assert Guideline.objects.values_list("version", "text").get() == (1, "Ours.")


def test_of_other_projects_even_the_existence_is_private(kitchen, as_eve):
    answers = [
        as_eve.get("/projects/kitchen/"),
        as_eve.post("/projects/kitchen/guidelines/", {"text": "x"}),
        as_eve.post("/projects/kitchen/memberships/"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_only_superusers_join_by_themselves(kitchen, as_grace):
    root = User.objects.create_superuser("root")

    assert as_grace.post("/projects/kitchen/memberships/").status_code == 403
    assert log_in(root).post("/projects/kitchen/memberships/").url == "/judge/kitchen/"
    assert Membership.objects.get(user=root).role == "manager"


def test_names_people_give_are_shown_as_text(as_ada):
    as_ada.post("/projects/", NEW | {"name": "</title><script>alert(1)</script>"})

    for address in ("/", "/projects/", "/projects/bakery/", "/judge/bakery/"):
        assert "<script>alert(1)" not in as_ada.get(address).content.decode()
