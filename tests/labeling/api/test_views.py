"""The API on which programs judge: the same three acts, and as blind as the page."""

import uuid

import pytest
from django.test import Client

from labeling.models import Judgment, Membership, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = pytest.mark.django_db


def post(client, address, body=None, **headers):
    return client.post(f"/api/v1/{address}", body or {}, content_type="application/json", headers=headers)


def claim_by_api(client):
    return post(client, "projects/kitchen/claims/").json()


def vote_on(claimed, **changes):
    fields = {"slot": claimed["slot"], "lease_token": claimed["lease_token"], "preference": -3}
    return fields | {"idempotency_key": str(uuid.uuid4())} | changes


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [("*/*", "", 200), ("application/json", "", 200), ("text/html", "", 406), ("*/*", "?format=xml", 404)],
)
def test_whoever_wants_what_is_not_json_is_told(as_grace, accept, query, status):
    answer = as_grace.get(f"/api/v1/projects/{query}", headers={"Accept": accept})

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")


def test_strangers_get_nothing():
    answers = [Client().get("/api/v1/projects/"), post(Client(), "judgments/"), post(Client(), "projects/x/claims/")]

    assert [answer.status_code for answer in answers] == [403, 403, 403]


def test_she_sees_her_projects(kitchen, garden, grace, as_grace):
    add_pairs(kitchen, 3)
    judge(claim(kitchen, grace), grace)

    assert as_grace.get("/api/v1/projects/").json() == [
        {
            "slug": "kitchen",
            "name": "Kitchen",
            "description": "",
            "scale": "quick",
            "axes": [],
            "reasons": [],
            "asks_fixes": False,
            "waiting": 2,
            "judged_today": 1,
        }
    ]


def test_a_claim_is_the_pair_as_shown_and_nothing_else(kitchen, grace, as_grace):
    add_pair(kitchen, "Boil or fry?", text_a="Boil.", text_b="Fry.")
    Slot.objects.update(a_shown_left=False)

    answer = post(as_grace, "projects/kitchen/claims/")

    slot = Slot.objects.get()
    assert answer.json() == {
        "slot": slot.pk,
        "lease_token": str(slot.lease_token),
        "lease_until": slot.lease_until.isoformat().replace("+00:00", "Z"),
        "messages": [{"role": "user", "content": "Boil or fry?"}],
        "left": "Fry.",
        "right": "Boil.",
    }


def test_an_empty_queue_answers_204_with_the_reason(kitchen, as_grace):
    answer = post(as_grace, "projects/kitchen/claims/")

    assert (answer.status_code, answer.content, answer["Prefloop-Empty"]) == (204, b"", "no_comparisons")


def test_a_vote_is_created_once_and_replayed_after(kitchen, as_grace):
    add_pair(kitchen)
    Slot.objects.update(a_shown_left=False)
    body = vote_on(claim_by_api(as_grace), note="fine", unsafe_left=True)

    first, again = post(as_grace, "judgments/", body), post(as_grace, "judgments/", body)

    judgment = Judgment.objects.get()
    assert (judgment.verdict, judgment.strength, judgment.unsafe_b) == ("B", 3, True)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json() | {"submitted_at": None} == {
        "id": judgment.pk,
        "idempotency_key": body["idempotency_key"],
        "preference": -3,
        "scale": "seven",
        "both_bad": False,
        "unsafe_left": True,
        "unsafe_right": False,
        "axes": {},
        "reasons": [],
        "note": "fine",
        "fix": "",
        "is_extra": False,
        "submitted_at": None,
    }


def test_the_key_may_be_a_header(kitchen, as_grace):
    add_pair(kitchen)
    body = vote_on(claim_by_api(as_grace))
    key = body.pop("idempotency_key")

    assert post(as_grace, "judgments/", body).status_code == 400
    assert post(as_grace, "judgments/", body, **{"Idempotency-Key": key}).json()["idempotency_key"] == key


@pytest.mark.parametrize(
    "changes",
    [
        {"preference": 4},
        {"preference": "much"},
        {"preference": None},
        {"scale": "stars"},
        {"note": "a\x00b"},
        {"note": "\ud800"},
        {"active_ms": -1},
        {"slot": 0},
        {"lease_token": "x"},
        {"idempotency_key": "x"},
    ],
)
def test_a_body_that_cannot_be_is_refused(kitchen, as_grace, changes):
    add_pair(kitchen)

    assert post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), **changes)).status_code == 400
    assert Judgment.objects.count() == 0


def test_refusals_keep_their_status(kitchen, grace, as_grace, as_hedy):
    add_pair(kitchen)
    claimed = claim_by_api(as_grace)
    taken = vote_on(claimed)

    assert post(as_hedy, "judgments/", vote_on(claimed)).status_code == 410
    assert post(as_grace, "judgments/", vote_on(claimed, slot=2**70)).status_code == 410
    assert post(as_grace, "judgments/", taken).status_code == 201
    assert post(as_grace, "judgments/", vote_on(claimed)).status_code == 409
    assert post(as_hedy, "judgments/", taken).status_code == 409
    Membership.objects.filter(user=grace).update(is_active=False)
    assert post(as_grace, "judgments/", vote_on(claimed)).status_code == 403
    assert post(as_grace, "projects/kitchen/claims/").status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 900 + "]" * 900,
        '{"preference": NaN}',
        '{"preference": -Infinity}',
        '{"preference": [1e999]}',
        "9" * 5000,
        "{",
        "",
        "\xff",
    ],
    ids=lambda body: body[:20],
)
@pytest.mark.parametrize("address", ["judgments/", "runs/"])
def test_a_body_that_is_no_json_of_ours_is_refused(as_ada, address, body):
    answer = as_ada.post(f"/api/v1/{address}", body.encode("latin-1"), content_type="application/json")

    assert answer.status_code == 400


def test_strangers_do_not_read_the_schema(client, as_grace):
    assert [reader.get("/api/schema/").status_code for reader in (client, as_grace)] == [403, 200]


def test_of_other_projects_even_the_existence_is_private(kitchen, as_eve):
    assert post(as_eve, "projects/kitchen/claims/").status_code == 404


def test_the_schema_names_every_address(client, as_grace):
    schema = as_grace.get("/api/schema/?format=json").json()

    ours = {
        path
        for path in schema["paths"]
        if path.startswith(("/api/v1/projects/", "/api/v1/claims/", "/api/v1/judgments/"))
    }
    assert ours == {
        "/api/v1/projects/",
        "/api/v1/projects/{slug}/claims/",
        "/api/v1/projects/{slug}/skips/",
        "/api/v1/claims/{slot_id}/renew/",
        "/api/v1/judgments/",
    }


def test_only_the_docs_may_style_inline(as_grace):
    docs, page = as_grace.get("/api/docs/"), as_grace.get("/")

    assert "style-src 'self' 'unsafe-inline'" in docs["Content-Security-Policy"]
    assert "unsafe" not in page["Content-Security-Policy"]
