import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from labeling.domain import members
from labeling.models import AuditEvent, Membership, Slice, User
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

MEMBERS = "/projects/kitchen/members/"
PASSWORD = {"password": "horse battery staple", "again": "horse battery staple"}


def invite(client, **changes):
    return client.post(
        f"{MEMBERS}invitations/", {"username": "joan", "email": "joan@example.org", "role": "reviewer"} | changes
    )


def find_link(answer):
    return re.search(r"/invitations/[^\"]+/", answer.content.decode()).group()


def test_the_list_says_who_is_what_and_how_much_she_judged(kitchen, grace, as_ada):
    say(add_pair(kitchen), grace, 2)
    Membership.objects.filter(user=grace).update(languages=["de"], is_active=False)

    rows = as_ada.get(MEMBERS).context["rows"]

    said = [(str(row.membership.user), row.membership.role, standing, row.n_judgments) for row, standing in rows]
    assert said == [("ada", "manager", "works", 0), ("grace", "labeler", "paused", 1)]
    assert rows[1][0].seen_at > timezone.now() - timedelta(minutes=1)


def test_members_are_found_by_name_and_paged(kitchen, as_ada, monkeypatch):
    for number in range(5):
        make_member(kitchen, f"labeler-{number}")
    monkeypatch.setattr(members, "PAGE_ROWS", 2)

    first = as_ada.get(MEMBERS, {"words": "LABELER"})
    second = as_ada.get(MEMBERS, {"words": "labeler", "after": first.context["after"]})

    names = [[str(row.membership.user) for row, _ in page.context["rows"]] for page in (first, second)]
    assert names == [["labeler-0", "labeler-1"], ["labeler-2", "labeler-3"]]


def test_the_list_asks_as_much_for_three_members_as_for_one(kitchen, as_ada, django_assert_max_num_queries):
    counts = []
    for number in range(3):
        make_member(kitchen, f"labeler-{number}")
        invite(as_ada, username=f"joan-{number}", email="")
        with django_assert_max_num_queries(30) as queries:
            as_ada.get(MEMBERS)
        counts.append(len(queries))

    assert counts[0] == counts[2]


@pytest.mark.parametrize("name", ["eve", "EVE@example.org"])
def test_someone_with_an_account_is_added_by_name_or_address(kitchen, ada, as_ada, eve, name):
    User.objects.filter(pk=eve.pk).update(email="eve@example.org")

    assert as_ada.post(f"{MEMBERS}add/", {"name": name, "role": "labeler"}).url == MEMBERS
    assert Membership.objects.get(project=kitchen, user=eve).role == "labeler"
    event = AuditEvent.objects.filter(verb="member.add", subject="eve").latest("id")
    assert (event.actor, event.project, event.after) == (ada, kitchen, {"role": "labeler"})


@pytest.mark.parametrize("name", ["nobody", "grace", "twice@example.org", "gone", ""])
def test_nobody_is_added_who_is_unknown_ambiguous_or_there_already(kitchen, grace, as_ada, name):
    User.objects.create_user("a", email="twice@example.org")
    User.objects.create_user("b", email="twice@example.org")
    User.objects.create_user("gone", is_active=False)
    before = Membership.objects.count()

    answer = as_ada.post(f"{MEMBERS}add/", {"name": name, "role": "manager"})

    assert (answer.status_code, Membership.objects.count()) == (422, before)
    assert Membership.objects.get(user=grace).role == "labeler"


def test_someone_invited_makes_her_account_and_is_in(kitchen, ada, as_ada):
    link, guest = find_link(invite(as_ada)), Client()

    assert "reviewer" in guest.get(link).content.decode()
    answer = guest.post(link, PASSWORD)

    assert answer.url == "/projects/kitchen/"
    joan = User.objects.get(username="joan")
    assert (joan.email, joan.check_password(PASSWORD["password"])) == ("joan@example.org", True)
    assert Membership.objects.values_list("project", "role").get(user=joan) == (kitchen.pk, "reviewer")
    assert guest.get("/projects/kitchen/review/").status_code == 200
    assert list(AuditEvent.objects.filter(subject="joan").order_by("id").values_list("verb", "actor")) == [
        ("member.invite", ada.pk),
        ("member.join", joan.pk),
    ]


def test_a_link_opens_once(kitchen, as_ada):
    link = find_link(invite(as_ada))
    Client().post(link, PASSWORD)

    again = [Client().get(link), Client().post(link, PASSWORD)]

    assert [answer.status_code for answer in again] == [410, 410]
    Membership.objects.filter(user__username="joan").delete()
    User.objects.filter(username="joan").delete()
    assert Client().post(link, PASSWORD).status_code == 410


def test_a_link_that_is_old_forged_withdrawn_or_replaced_is_gone(kitchen, as_ada, monkeypatch):
    withdrawn = find_link(invite(as_ada))
    pk = AuditEvent.objects.get(verb="member.invite").pk
    as_ada.post(f"{MEMBERS}invitations/withdraw/", {"invitation": pk})
    replaced = find_link(invite(as_ada))
    good = find_link(invite(as_ada, role="labeler"))
    forged = f"{good[:-2]}{'A' if good[-2] != 'A' else 'B'}/"

    assert [Client().get(link).status_code for link in (withdrawn, replaced, forged, "/invitations/x/")] == [410] * 4
    assert Client().get(good).status_code == 200
    now = timezone.now().timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + 7 * 24 * 3600 + 1)
    assert Client().get(good).status_code == 410
    assert not User.objects.filter(username="joan").exists()


@pytest.mark.parametrize(
    "said",
    [{"password": "short", "again": "short"}, {"password": "password1", "again": "password1"},
     {"password": "horse battery", "again": "horse batter"}, {"password": "joan@example", "again": "joan@example"}, {}],
)  # fmt: skip
def test_a_weak_or_mistyped_password_makes_no_account(kitchen, as_ada, said):
    link = find_link(invite(as_ada))

    answer = Client().post(link, said)

    assert (answer.status_code, User.objects.filter(username="joan").exists()) == (422, False)


@pytest.mark.parametrize(
    "changes", [{"username": "grace"}, {"username": "a b"}, {"email": "nobody"}, {"role": "owner"}]
)
def test_an_invitation_that_cannot_be_is_refused(kitchen, grace, as_ada, changes):
    assert invite(as_ada, **changes).status_code == 422
    assert not AuditEvent.objects.filter(verb="member.invite").exists()


def test_signing_up_alone_stays_impossible(kitchen):
    answer = Client().post("/accounts/signup/", {"username": "mallory", "email": "m@example.org"} | PASSWORD)

    assert not User.objects.exists()
    assert b"password" not in answer.content


def test_a_role_is_changed_and_the_last_manager_keeps_hers(kitchen, ada, grace, as_ada):
    answers = [as_ada.post(f"{MEMBERS}{user.pk}/role/", {"role": "reviewer"}) for user in (grace, ada)]

    assert [answer.status_code for answer in answers] == [302, 422]
    assert "is the last manager" in answers[1].content.decode()
    assert dict(Membership.objects.values_list("user__username", "role")) == {"ada": "manager", "grace": "reviewer"}


def test_routing_is_by_what_the_project_has(kitchen, grace, as_ada):
    Slice.objects.create(project=kitchen, name="code", language="de")

    answers = [
        as_ada.post(f"{MEMBERS}{grace.pk}/routing/", said)
        for said in ({"slices": "code", "languages": "de"}, {"slices": "law"})
    ]

    assert [answer.status_code for answer in answers] == [302, 422]
    assert Membership.objects.values_list("slices", "languages").get(user=grace) == (["code"], ["de"])


def test_a_member_of_another_project_is_not_found(kitchen, eve, as_ada):
    addresses = [f"{MEMBERS}{eve.pk}/", f"{MEMBERS}999/"]

    assert [as_ada.get(address).status_code for address in addresses] == [404, 404]
