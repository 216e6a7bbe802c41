"""Who may open which page of a project, by which method: every route under /projects/ is in the matrix or fails it."""

import pytest
from django.test import Client
from django.urls import reverse

from labeling.domain.gold import make_gold
from labeling.domain.people import pause_member
from labeling.domain.projects import publish_guideline
from labeling.models import AuditEvent, Membership, SavedView
from labeling.urls import urlpatterns
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pair

pytestmark = pytest.mark.django_db

# The least role a page is for, by the method it is asked by; None where the method is none of its own (405).
LABELER, REVIEWER, MANAGER = 0, 1, 2
DOORS = {
    "audit-list": (MANAGER, None),
    "comparison-detail": (REVIEWER, None),
    "comparison-list": (REVIEWER, None),
    "completion-list": (MANAGER, None),
    "data-change": (None, MANAGER),
    "guideline-compare": (LABELER, None),
    "guideline-detail": (LABELER, None),
    "guideline-list": (LABELER, MANAGER),
    "guideline-requeue": (None, MANAGER),
    "invitation-create": (None, MANAGER),
    "invitation-withdraw": (None, MANAGER),
    "judgment-list": (MANAGER, None),
    "member-add": (None, MANAGER),
    "member-edit": (MANAGER, None),
    "member-list": (MANAGER, None),
    "member-role": (None, MANAGER),
    "member-route": (None, MANAGER),
    "overlap-apply": (MANAGER, MANAGER),
    "project-detail": (LABELER, None),
    "project-edit": (MANAGER, MANAGER),
    "project-state": (None, MANAGER),
    "prompt-detail": (MANAGER, None),
    "prompt-list": (MANAGER, None),
    "view-delete": (None, REVIEWER),
    "view-save": (None, REVIEWER),
}
# Pages whose own tests say who may see them.
ELSEWHERE = ("exam-", "gold-", "import-", "labeler-", "quality", "review-", "standing-", "membership-create")


@pytest.fixture
def places(kitchen, ada, grace):
    publish_guideline(kitchen, "one")
    pair = add_pair(kitchen)
    make_gold(add_pair(kitchen, "gold"), ada, strength_min=1, strength_max=3)
    view = SavedView.objects.create(project=kitchen, owner=ada, page="comparisons", name="x", is_shared=True)
    return {
        "slug": "kitchen", "version": 1, "since": 1, "comparison_id": pair.pk, "prompt_id": pair.prompt_id,
        "user_id": grace.pk, "view_id": view.pk, "page": "comparisons",
    }  # fmt: skip


def find_address(name, places):
    (route,) = [route for route in urlpatterns if route.name == name]
    return reverse(f"labeling:{name}", kwargs={key: places[key] for key in route.pattern.converters})


@pytest.fixture
def cast(kitchen, ada, grace, eve):
    rita = make_member(kitchen, "rita", role="reviewer")
    gone = make_member(kitchen, "gone", role="manager")
    pause_member(Membership.objects.get(user=gone), ada)
    return {"grace": grace, "rita": rita, "eve": eve, "gone": gone, "ada": ada}


def test_every_page_of_a_project_is_in_a_matrix():
    names = {route.name for route in urlpatterns if str(route.pattern).startswith("projects/<slug")}

    assert names - {name for name in names if name.startswith(ELSEWHERE)} == set(DOORS)


@pytest.mark.parametrize("name", sorted(DOORS))
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_comes_in_who_may_not(places, cast, name, method):
    needed = DOORS[name][method == "post"]
    address = find_address(name, places)
    before = AuditEvent.objects.count()

    statuses = {who: getattr(log_in(user), method)(address).status_code for who, user in cast.items() if who != "ada"}
    stranger = getattr(Client(), method)(address)

    if needed is None:
        assert set(statuses.values()) == {405}
        return
    refused = {LABELER: [], REVIEWER: ["grace"], MANAGER: ["grace", "rita"]}[needed]
    assert {who: statuses[who] for who in ("eve", "gone", *refused)} == {
        "eve": 404,
        "gone": 404,
        **dict.fromkeys(refused, 403),
    }
    # A view of hers she may delete, another's is not found; all else that is hers to open opens.
    opened = {statuses[who] for who in ("grace", "rita") if who not in refused}
    assert opened <= ({404} if name == "view-delete" else {200, 302, 422})
    assert (stranger.status_code, stranger.url.startswith("/accounts/login/")) == (302, True)
    assert AuditEvent.objects.count() == before or needed == REVIEWER


@pytest.mark.parametrize("name", sorted(DOORS))
def test_managers_come_in_everywhere(places, cast, name):
    client, address = log_in(cast["ada"]), find_address(name, places)

    statuses = [
        getattr(client, method)(address).status_code
        for method, needed in zip(("get", "post"), DOORS[name], strict=True)
        if needed is not None
    ]

    assert [status for status in statuses if status not in (200, 302, 422)] == []


@pytest.mark.parametrize("name", sorted(DOORS))
def test_reading_changes_nothing(places, cast, name):
    before = AuditEvent.objects.count()

    log_in(cast["ada"]).get(find_address(name, places))

    assert AuditEvent.objects.count() == before
