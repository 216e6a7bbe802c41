from __future__ import annotations

import pytest
from django.core.cache import cache

from labeling.domain.gold import make_gold
from labeling.models import AuditEvent, Membership
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_report_of_other_tests(db):
    cache.clear()


@pytest.fixture
def as_rita(kitchen):
    return log_in(make_member(kitchen, "rita", role="reviewer"))


@pytest.fixture
def page(grace):
    return f"/projects/kitchen/labelers/{grace.pk}/"


def read(client, address):
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_reviewers_read_managers_act_labelers_and_strangers_do_neither(
    kitchen, page, as_rita, as_ada, as_grace, as_hedy, as_eve
):
    cast = (as_ada, as_rita, as_grace, as_hedy, as_eve)

    assert [client.get(page).status_code for client in cast] == [200, 200, 403, 403, 404]
    acts = [(f"{page}standing/", {"act": "pause", "reason": "x"}), (f"{page}exam/", {"act": "waive"})]
    for address, said in acts:
        assert [client.post(address, said).status_code for client in cast[1:]] == [403, 403, 403, 404]
    assert Membership.objects.filter(user__username="grace").values_list("is_active", "exam").get() == (True, "open")


def test_someone_who_never_was_here_has_no_page(kitchen, eve, as_ada):
    address = f"/projects/kitchen/labelers/{eve.pk}/"

    assert as_ada.get(address).status_code == 404
    assert as_ada.post(f"{address}standing/", {"act": "pause", "reason": "x"}).status_code == 404
    assert as_ada.post(f"{address}exam/", {"act": "waive"}).status_code == 404


def test_a_manager_sees_figures_answers_judgments_and_the_trail(kitchen, ada, grace, as_ada, page):
    gold, work = add_pairs(kitchen, 2)
    make_gold(gold, ada, strength_min=1, strength_max=3)
    say(gold, grace, -2, reason="gold")
    say(work, grace, 3, note="a <i>note</i>", is_hasty=True)
    as_ada.post(f"{page}standing/", {"act": "pause", "reason": "away until May"})

    html = read(as_ada, page)

    for text in (
        "Her answers to gold",
        "B is better, by however much",
        '<span class="badge" data-state="bad">wrong</span> A is better',
        "a &lt;i&gt;note&lt;/i&gt;",
        "hasty",
        "<code>member.pause</code>",
        "away until May",
        "1 judgment of work",
        "Paused: she is given nothing more to judge.",
    ):
        assert text in html


def test_a_reviewer_sees_figures_and_neither_gold_nor_who_said_what(kitchen, ada, grace, as_rita, page):
    gold, work = add_pairs(kitchen, 2)
    make_gold(gold, ada, strength_min=1, strength_max=3)
    say(gold, grace, -2, reason="gold")
    say(work, grace, 3, note="my note")

    html = read(as_rita, page)

    assert "Gold right" in html
    for hidden in ("Her answers to gold", "question 0", "question 1", "my note", "member.add", "/standing/", "/exam/"):
        assert hidden not in html


@pytest.mark.parametrize(
    ("act", "is_active", "is_quarantined", "says"),
    [
        ("pause", False, False, "grace is given nothing more to judge"),
        ("quarantine", False, True, "grace is in quarantine"),
    ],
)
def test_a_manager_changes_her_standing_with_a_reason_on_the_trail(
    kitchen, ada, grace, as_ada, page, act, is_active, is_quarantined, says
):
    say(add_pair(kitchen), grace, 2)

    answer = as_ada.post(f"{page}standing/", {"act": act, "reason": "Clicks without reading."}, follow=True)

    html = answer.content.decode()
    membership = Membership.objects.get(user=grace)
    assert answer.redirect_chain == [(page, 302)]
    assert says in html
    assert (membership.is_active, membership.is_quarantined) == (is_active, is_quarantined)
    event = AuditEvent.objects.get(verb=f"member.{act}")
    assert (event.actor, event.after["reason"]) == (ada, "Clicks without reading.")
    assert ("her 1 judgment is kept and left out of datasets" in html) is is_quarantined

    as_ada.post(f"{page}standing/", {"act": "reinstate", "reason": "We talked."})

    membership.refresh_from_db()
    assert (membership.is_active, membership.is_quarantined) == (True, False)


def test_without_a_reason_nothing_changes(kitchen, grace, as_ada, page):
    answer = as_ada.post(f"{page}standing/", {"act": "quarantine", "reason": " "}, follow=True)

    assert "Say why: the trail keeps it." in answer.content.decode()
    assert Membership.objects.get(user=grace).is_active


def test_the_last_manager_stays(kitchen, ada, as_ada):
    page = f"/projects/kitchen/labelers/{ada.pk}/"

    answer = as_ada.post(f"{page}standing/", {"act": "pause", "reason": "tired"}, follow=True)

    assert "the last manager" in answer.content.decode()
    assert Membership.objects.get(user=ada).is_active


def test_an_exam_is_waived_or_taken_again(kitchen, grace, as_ada, page):
    answer = as_ada.post(f"{page}exam/", {"act": "waive"}, follow=True)
    assert "grace works without an exam." in answer.content.decode()
    assert Membership.objects.get(user=grace).exam == "waived"

    as_ada.post(f"{page}exam/", {"act": "retake"})
    assert Membership.objects.get(user=grace).exam == "open"

    answer = as_ada.post(f"{page}exam/", {"act": "pass"}, follow=True)
    assert "Choose whether she takes the exam again" in answer.content.decode()
    assert Membership.objects.get(user=grace).exam == "open"


def test_whoever_judged_and_is_no_member_any_more_keeps_her_page(kitchen, grace, as_ada, page):
    say(add_pair(kitchen), grace, 2)
    Membership.objects.filter(user=grace).delete()

    html = read(as_ada, page)

    assert "No member of this project any more." in html
    assert "/standing/" not in html


def test_her_page_takes_as_many_queries_for_three_judgments_as_for_one(
    kitchen, ada, grace, as_ada, page, django_assert_max_num_queries
):
    pairs = add_pairs(kitchen, 6)
    counts = []
    for number in range(3):
        make_gold(pairs[number], ada, strength_min=1, strength_max=3)
        say(pairs[number], grace, 2, reason="gold")
        say(pairs[number + 3], grace, 2)
        cache.clear()
        with django_assert_max_num_queries(60) as queries:
            read(as_ada, page)
        counts.append(len(queries))

    assert counts[0] == counts[2]
