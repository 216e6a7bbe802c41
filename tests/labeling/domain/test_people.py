import pytest

from labeling.domain.errors import NotAMember
from labeling.domain.overlap import OverlapChange
from labeling.domain.people import (
    InvalidRouting,
    LastManager,
    add_member,
    change_role,
    pause_member,
    quarantine_member,
    reinstate_member,
    set_routing,
)
from labeling.domain.requeueing import requeue_lost
from labeling.models import AuditEvent, Membership, Slice, Slot, User
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pairs, claim, judge, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def find(project, user):
    return Membership.objects.get(project=project, user=user)


def read_trail(*verbs):
    events = AuditEvent.objects.filter(verb__in=verbs).order_by("id")
    return [(row.verb, row.subject, row.actor and str(row.actor), row.before, row.after) for row in events]


def test_adding_and_changing_a_member_is_on_the_trail_and_saying_it_again_is_not(kitchen, ada):
    AuditEvent.objects.all().delete()
    joan = User.objects.create_user("joan")

    for role in ("labeler", "labeler", "reviewer"):
        add_member(kitchen, joan, role=role, actor=ada)
    change_role(find(kitchen, joan), ada, role="labeler")
    change_role(find(kitchen, joan), ada, role="labeler")

    assert read_trail("member.add", "member.role") == [
        ("member.add", "joan", "ada", {}, {"role": "labeler"}),
        ("member.add", "joan", "ada", {"role": "labeler"}, {"role": "reviewer"}),
        ("member.role", "joan", "ada", {"role": "reviewer"}, {"role": "labeler"}),
    ]


def test_a_paused_member_gives_back_what_she_holds_and_claims_nothing_more(kitchen, ada, grace):
    add_pairs(kitchen, 1)
    claim(kitchen, grace)

    pause_member(find(kitchen, grace), ada, reason="on holiday")

    assert Slot.objects.values_list("state", "labeler").get() == ("free", None)
    with pytest.raises(NotAMember):
        claim(kitchen, grace)
    assert read_trail("member.pause") == [
        ("member.pause", "grace", "ada", {"is_active": True}, {"is_active": False, "reason": "on holiday"})
    ]
    reinstate_member(find(kitchen, grace), ada)
    assert claim(kitchen, grace)


def test_quarantine_keeps_the_judgments_and_adding_her_again_does_not_end_it(kitchen, ada, grace):
    add_pairs(kitchen, 1)
    judge(claim(kitchen, grace), grace)

    quarantine_member(find(kitchen, grace), ada)
    member = add_member(kitchen, grace, role="labeler")

    assert (member.is_active, member.is_quarantined, grace.judgments.count()) == (False, True, 1)
    assert list(Slot.objects.values_list("number", "state")) == [(0, "done")]


def test_quarantine_asks_others_for_what_she_judged_and_never_twice(kitchen, ada, grace, hedy):
    add_pairs(kitchen, 3, overlap=2)
    for labeler in (grace, grace, hedy):
        judge(claim(kitchen, labeler), labeler)
    n_hers = Slot.objects.filter(labeler=grace).count()

    quarantine_member(find(kitchen, grace), ada, requeue=True)
    quarantine_member(find(kitchen, grace), ada, requeue=True)

    assert (n_hers, Slot.objects.filter(state="free").count()) == (2, 3 + n_hers)
    reinstate_member(find(kitchen, grace), ada)
    judge(claim(kitchen, grace), grace)
    quarantine_member(find(kitchen, grace), ada, requeue=True)
    assert Slot.objects.count() == 6 + 3
    events = read_trail("member.requeue")
    assert [(after["n_comparisons"], after["n_added"]) for *_, after in events] == [(2, 2), (1, 1)]


def test_nobody_is_asked_for_what_counts_again(kitchen, ada, grace):
    add_pairs(kitchen, 1)
    judge(claim(kitchen, grace), grace)

    assert requeue_lost(find(kitchen, grace), actor=ada) == OverlapChange()
    assert Slot.objects.count() == 1


@pytest.mark.parametrize(
    "act",
    [
        pause_member,
        quarantine_member,
        lambda member, actor: change_role(member, actor, role="reviewer"),
        lambda member, actor: add_member(member.project, member.user, role="labeler"),
    ],
)
def test_the_last_manager_stays(kitchen, ada, act):
    paused = make_member(kitchen, "joan", role="manager")
    pause_member(find(kitchen, paused), ada)

    with pytest.raises(LastManager):
        act(find(kitchen, ada), ada)

    assert (find(kitchen, ada).role, find(kitchen, ada).is_active) == ("manager", True)


@pytest.mark.django_db(transaction=True)
def test_of_two_managers_who_demote_each_other_one_stays(kitchen, ada):
    joan = make_member(kitchen, "joan", role="manager")

    results = run_together(
        lambda: change_role(find(kitchen, joan), ada, role="labeler"),
        lambda: change_role(find(kitchen, ada), joan, role="labeler"),
    )

    assert sorted(type(result).__name__ for result in results) == ["LastManager", "Membership"]
    assert Membership.objects.filter(role="manager").count() == 1


def test_routing_is_by_what_the_project_has(kitchen, ada, grace):
    Slice.objects.create(project=kitchen, name="code", language="en")
    Slice.objects.create(project=kitchen, name="chat", language="de")

    set_routing(find(kitchen, grace), ada, languages=["de"], slices=["code", "chat"])

    assert (find(kitchen, grace).languages, find(kitchen, grace).slices) == (["de"], ["chat", "code"])
    assert read_trail("member.route") == [
        (
            "member.route",
            "grace",
            "ada",
            {"languages": [], "slices": []},
            {"languages": ["de"], "slices": ["chat", "code"]},
        )
    ]
    for languages, slices in ([["fr"], []], [[], ["law"]]):
        with pytest.raises(InvalidRouting):
            set_routing(find(kitchen, grace), ada, languages=languages, slices=slices)
