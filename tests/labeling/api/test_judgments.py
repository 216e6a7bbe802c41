"""Judging, skipping, renewing and looking back by API, and the next claim in the same trip."""

import base64
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain.gold import make_gold
from labeling.models import Completion, Judgment, Membership, Project, Skip, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def post(client, address, body=None, **headers):
    return client.post(f"/api/v1/{address}", body or {}, content_type="application/json", headers=headers)


def claim_by_api(client):
    return post(client, "projects/kitchen/claims/").json()


def vote_on(claimed, **changes):
    fields = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "preference": -3}
    return fields | {"idempotency_key": str(uuid.uuid4())} | changes


@pytest.fixture
def asking(kitchen):
    Project.objects.update(axes=["true"], reasons=["rude"], asks_fixes=True, gold_share=0)


def test_a_vote_says_all_that_the_project_asks(kitchen, asking, grace, as_grace):
    add_pair(kitchen)
    Slot.objects.update(a_shown_left=False)
    body = vote_on(
        claim_by_api(as_grace),
        axes={"true": -1},
        reasons=["rude"],
        fix="Boil it.",
        trace={"input_method": "key", "viewport": "1440x900", "unknown": [1, {"a": 2}]},
    )

    answer = post(as_grace, "judgments/", body)

    stored = Judgment.objects.get()
    assert answer.status_code == 201
    assert {name: answer.json()[name] for name in ("axes", "reasons", "fix")} == {
        "axes": {"true": -1},
        "reasons": ["rude"],
        "fix": "Boil it.",
    }
    assert (stored.axes, stored.reasons) == ({"true": 1}, ["rude"])
    assert stored.trace == {"input_method": "key", "viewport": "1440x900"}
    assert Completion.objects.get(author=grace).text == "Boil it."


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"nice": 1}},
        {"axes": {"true": 4}},
        {"axes": {"true": "much"}},
        {"axes": [1]},
        {"reasons": ["boring"]},
        {"reasons": "rude"},
        {"reasons": [1.5]},
        {"fix": "A: How do I boil an egg?"},
        {"fix": "x" * 100_001},
        {"fix": "x", "preference": 0},
        {"fix": None},
        {"trace": "fast"},
        {"trace": [1]},
        {"claim_next": "perhaps"},
    ],
)
def test_a_vote_that_says_what_cannot_be_is_refused_and_the_claim_kept(kitchen, asking, as_grace, changes):
    add_pair(kitchen)

    answer = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), **changes))

    assert (answer.status_code, Judgment.objects.count(), Slot.objects.get().state) == (400, 0, "held")


def test_the_answer_brings_the_next_claim(kitchen, asking, grace, as_grace):
    add_pairs(kitchen, 2)

    answer = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), claim_next=True)).json()

    held = Slot.objects.get(state="held")
    assert (answer["next"]["slot"], answer["next"]["lease_token"]) == (held.pk, str(held.lease_token))
    assert answer["next"] == claim_by_api(as_grace) | {"lease_until": answer["next"]["lease_until"]}
    assert answer["empty"] is None


def test_the_answer_says_why_there_is_no_next_claim(kitchen, asking, as_grace):
    add_pair(kitchen)

    answer = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), claim_next=True)).json()

    assert (answer["next"], answer["empty"]) == (None, "all_done")


def test_a_replay_brings_the_next_claim_too(kitchen, asking, as_grace):
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace), claim_next=True)

    first, again = post(as_grace, "judgments/", body), post(as_grace, "judgments/", body)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["next"]["slot"] == again.json()["next"]["slot"]


def test_a_replay_is_answered_over_the_limit_too_and_a_new_vote_is_put_off(kitchen, asking, as_grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 1
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))
    first = post(as_grace, "judgments/", body)

    again = post(as_grace, "judgments/", body)
    other = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace)))

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 429)
    assert again.json() == first.json()
    assert Judgment.objects.count() == 1


def test_a_key_of_another_vote_is_a_conflict_over_the_limit_too(kitchen, asking, as_grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 1
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))
    post(as_grace, "judgments/", body)

    other = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), idempotency_key=body["idempotency_key"]))

    assert other.status_code == 409


def test_unasked_the_answer_is_the_judgment_alone(kitchen, asking, as_grace):
    add_pairs(kitchen, 2)

    answer = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace))).json()

    assert not {"next", "empty"} & answer.keys()


def test_nothing_tells_gold_from_work(kitchen, ada, asking, as_grace):
    """Gold is slipped in unmarked: what a program is told of it has the same keys as of anything else."""
    Project.objects.update(gold_share=0.5)
    make_gold(add_pair(kitchen, "gold"), ada, strength_min=1, strength_max=3, explanation="secret")
    add_pairs(kitchen, 20)
    answers = {}

    claimed = claim_by_api(as_grace)
    while claimed and len(answers) < 2:
        reason = Slot.objects.get(pk=claimed["slot"]).reason
        answer = post(as_grace, "judgments/", vote_on(claimed, claim_next=True))
        answers[reason] = (sorted(claimed), answer.status_code, sorted(answer.json()))
        assert "secret" not in answer.content.decode()
        claimed = answer.json()["next"]

    assert sorted(answers) == ["gold", "random"]
    assert answers["gold"] == answers["random"]


def test_a_vote_and_the_next_claim_cost_so_many_statements(kitchen, asking, as_grace, django_assert_max_num_queries):
    add_pairs(kitchen, 3)
    body = vote_on(claim_by_api(as_grace), claim_next=True)

    with django_assert_max_num_queries(17):
        post(as_grace, "judgments/", body)


@pytest.mark.django_db(transaction=True)
def test_a_vote_and_the_next_claim_wait_for_the_one_writer_once(kitchen, asking, as_grace):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL locks rows")
    add_pairs(kitchen, 3)
    body = vote_on(claim_by_api(as_grace), claim_next=True)

    with CaptureQueriesContext(connection) as captured:
        answer = post(as_grace, "judgments/", body)

    assert answer.json()["next"]["slot"] != body["slot"]
    said = [row["sql"].split()[0] for row in captured.captured_queries]
    held = said[said.index("BEGIN") : said.index("COMMIT")]
    assert (said.count("BEGIN"), said.count("COMMIT")) == (1, 1)
    assert said.count("UPDATE") == held.count("UPDATE") == 3
    assert said.count("INSERT") == held.count("INSERT") == 1


def test_a_skip_is_stored_once_and_brings_the_next_claim(kitchen, asking, grace, as_grace):
    add_pairs(kitchen, 2)
    claimed = claim_by_api(as_grace)
    body = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "reason": "unsafe"}

    first = post(as_grace, "projects/kitchen/skips/", body)
    again = post(as_grace, "projects/kitchen/skips/", body | {"reason": "language", "claim_next": True})

    assert [(answer.status_code, answer.json()["reason"]) for answer in (first, again)] == [(200, "unsafe")] * 2
    assert Skip.objects.values_list("labeler", "reason").get() == (grace.pk, "unsafe")
    assert "next" not in first.json()
    assert again.json()["next"]["slot"] != claimed["slot"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": "boredom"}, 400),
        ({"reason": None}, 400),
        ({"slot": 0}, 400),
        ({"slot": 2**70}, 410),
        ({"slot": 987654}, 410),
        ({"lease_token": "x"}, 400),
        ({"lease_token": str(uuid.uuid4())}, 410),
    ],
)
def test_a_skip_that_cannot_be_is_refused(kitchen, as_grace, changes, status):
    add_pair(kitchen)
    claimed = claim_by_api(as_grace)
    body = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "reason": "unsafe"}

    answer = post(as_grace, "projects/kitchen/skips/", body | changes)

    assert (answer.status_code, Skip.objects.count(), Slot.objects.get().state) == (status, 0, "held")


def test_what_is_judged_cannot_be_skipped_and_strangers_learn_nothing(kitchen, grace, as_grace, as_eve):
    add_pair(kitchen)
    claimed = claim_by_api(as_grace)
    post(as_grace, "judgments/", vote_on(claimed))
    body = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "reason": "unsafe"}

    statuses = [post(client, "projects/kitchen/skips/", body).status_code for client in (as_grace, as_eve)]
    Membership.objects.filter(user=grace).update(is_active=False)

    assert statuses == [409, 404]
    assert post(as_grace, "projects/kitchen/skips/", body).status_code == 403


def test_a_slot_is_skipped_in_its_own_project_only(kitchen, garden, grace, as_grace):
    Membership.objects.create(project=garden, user=grace)
    add_pair(kitchen)
    claimed = claim_by_api(as_grace)
    body = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "reason": "unsafe"}

    assert post(as_grace, "projects/garden/skips/", body).status_code == 410


def test_a_lease_is_renewed_by_its_holder_alone(kitchen, as_grace, as_hedy):
    add_pair(kitchen)
    claimed = claim_by_api(as_grace)
    address, body = f"claims/{claimed['slot']}/renew/", {"lease_token": claimed["lease_token"]}

    renewed = post(as_grace, address, body)

    assert renewed.status_code == 200
    assert list(renewed.json()) == ["lease_until"]
    assert renewed.json()["lease_until"] >= claimed["lease_until"]
    assert post(as_hedy, address, body).status_code == 410
    assert post(as_grace, address, {"lease_token": str(uuid.uuid4())}).status_code == 410
    assert post(as_grace, address, {}).status_code == 400
    assert post(as_grace, f"claims/{2**70}/renew/", body).status_code == 410
    Slot.objects.all().free_up()
    assert post(as_grace, address, body).status_code == 410


def test_she_reads_her_own_judgments_as_they_stand_newest_first(kitchen, grace, hedy, as_grace):
    add_pairs(kitchen, 3, overlap=2)
    first, second = [judge(claim(kitchen, grace), grace, note=note) for note in ("one", "two")]
    judge(claim(kitchen, hedy), hedy, note="not hers")
    last = revise(first, grace, 3, note="one, again")

    page = as_grace.get("/api/v1/judgments/").json()

    assert sorted(page) == ["next", "previous", "results"]
    assert [(row["id"], row["preference"], row["note"]) for row in page["results"]] == [
        (last.pk, 3, "one, again"),
        (second.pk, -2, "two"),
    ]


def test_her_judgments_are_read_by_project(kitchen, garden, grace, as_grace):
    Membership.objects.create(project=garden, user=grace)
    add_pair(kitchen)
    add_pair(garden)
    here, there = [judge(claim(project, grace), grace) for project in (kitchen, garden)]

    def read(query):
        return [row["id"] for row in as_grace.get(f"/api/v1/judgments/{query}").json()["results"]]

    assert (read("?project=kitchen"), read("?project=garden"), read("")) == ([here.pk], [there.pk], [there.pk, here.pk])


def test_of_projects_that_are_not_hers_she_reads_nothing(kitchen, garden, as_grace, as_eve):
    assert as_grace.get("/api/v1/judgments/?project=garden").status_code == 404
    assert as_grace.get("/api/v1/judgments/?project=cellar").status_code == 404
    assert as_eve.get("/api/v1/judgments/").json()["results"] == []


def test_pages_hold_fifty_and_lead_to_the_next(kitchen, grace, as_grace):
    add_pairs(kitchen, 51)
    judged = [judge(claim(kitchen, grace), grace).pk for _ in range(51)]

    first = as_grace.get("/api/v1/judgments/?project=kitchen").json()
    second = as_grace.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == judged[::-1]
    assert (first["previous"], second["next"]) == (None, None)


def encode(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["x", encode("p=abc"), encode("p=1 OR 1=1"), encode("p=\0"), encode("p=" + "9" * 400), encode("o=x")],
)
def test_a_cursor_nobody_made_is_told_so(kitchen, grace, as_grace, cursor):
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)

    assert as_grace.get(f"/api/v1/judgments/?cursor={cursor}").status_code == 404


@pytest.mark.parametrize("n", [1, 3])
def test_a_page_costs_the_same_for_one_as_for_three(kitchen, asking, grace, as_grace, django_assert_num_queries, n):
    add_pairs(kitchen, n)
    for number in range(n):
        judge(claim(kitchen, grace), grace, fix=f"Boil it {number}.")

    with django_assert_num_queries(3):
        rows = as_grace.get("/api/v1/judgments/").json()["results"]

    assert len(rows) == n
