import pytest

from labeling.domain.invitations import (
    AlreadyThere,
    InvitationGone,
    accept_invitation,
    invite,
    list_invitations,
    read_invitation,
    withdraw,
)
from labeling.models import AuditEvent, Membership, User
from tests.labeling.rows import run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def list_names(project):
    return [invitation.username for invitation in list_invitations(project)]


def test_an_invitation_is_bound_to_its_project_name_and_role(kitchen, ada):
    invitation = read_invitation(invite(kitchen, ada, username="joan", email="j@example.org", role="reviewer"))

    facts = (invitation.project, invitation.username, invitation.email, invitation.role, invitation.by)
    assert facts == (kitchen, "joan", "j@example.org", "reviewer", ada)


@pytest.mark.django_db(transaction=True)
def test_of_four_who_follow_a_link_at_once_one_makes_the_account(kitchen, ada):
    token = invite(kitchen, ada, username="joan", role="labeler")

    results = run_together(*[lambda n=n: accept_invitation(token, password=f"secret {n}") for n in range(4)])

    assert sorted(type(result).__name__ for result in results) == ["InvitationGone"] * 3 + ["tuple"]
    assert Membership.objects.filter(user__username="joan").count() == 1
    assert AuditEvent.objects.filter(verb="member.join").count() == 1


def test_what_waits_is_listed_until_something_comes_of_it(kitchen, garden, ada):
    tokens = {name: invite(kitchen, ada, username=name, role="labeler") for name in ("joan", "mary", "annie")}
    invite(garden, ada, username="elsewhere", role="labeler")
    invite(kitchen, ada, username="joan", role="manager")

    withdraw(read_invitation(tokens["mary"]), ada)
    accept_invitation(tokens["annie"], password="secret")

    assert list_names(kitchen) == ["joan"]
    for name in ("joan", "mary", "annie"):
        with pytest.raises(InvitationGone):
            read_invitation(tokens[name])


def test_whoever_has_an_account_is_not_invited(kitchen, ada):
    User.objects.filter(pk=ada.pk).update(email="ada@example.org")

    for changes in ({"username": "ada"}, {"username": "joan", "email": "ADA@example.org"}):
        with pytest.raises(AlreadyThere):
            invite(kitchen, ada, role="labeler", **changes)


def test_a_name_taken_meanwhile_closes_the_link(kitchen, ada):
    token = invite(kitchen, ada, username="joan", role="manager")
    User.objects.create_user("joan")

    with pytest.raises(InvitationGone):
        accept_invitation(token, password="secret")

    assert not Membership.objects.filter(user__username="joan").exists()
