"""The short way of a vote answers as the usual way does, and leaves to it whatever is no plain vote with all its proofs."""

import json

import pytest
from django.conf import settings as house
from django.test import Client
from django.urls import reverse

from labeling.api.short import VOTES
from labeling.models import Judgment, Membership, Project
from tests.labeling.api.test_judgments import claim_by_api, post, vote_on
from tests.labeling.conftest import log_in
from tests.labeling.rows import add_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.database]

SHORT = "labeling.api.short.take_short_way"
TOKEN = "benchmark" * 3 + "token"
VARYING = {"id", "idempotency_key", "submitted_at", "slot", "lease_token", "lease_until", "messages", "left", "right"}


def went_short(answer):
    return not hasattr(answer, "accepted_renderer")  # which REST framework gives its answers


def tell(answer):
    """Return what is alike in the answers to two votes on two pairs."""
    body = answer.json()
    for part in (body, body.get("next") or {}):
        part.update({name: type(part[name]).__name__ for name in VARYING & part.keys()})
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
    return answer.status_code, headers, body


def as_usual(settings, client):
    """Return a client whose votes go the usual way."""
    settings.MIDDLEWARE = [name for name in house.MIDDLEWARE if name != SHORT]
    usual = Client()
    usual.cookies = client.cookies
    return usual


def test_it_is_the_address_of_votes():
    assert reverse("labeling-api:judgment-list") == VOTES


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 201),
        ({"claim_next": True}, 201),
        ({"note": "<&é\u2028"}, 201),
        ({"axes": {"nice": 1}}, 400),
        ({"lease_token": "00000000-0000-0000-0000-000000000007"}, 410),
    ],
)
@pytest.mark.parametrize("language", ["en", "de"])
def test_a_vote_is_answered_alike_on_both_ways(kitchen, grace, as_grace, settings, changes, status, language):
    grace.desk = {"language": language}
    grace.save()
    add_pairs(kitchen, 4)

    short = post(as_grace, "judgments/", vote_on(claim_by_api(as_grace), **changes))
    usual = as_usual(settings, as_grace)
    long = post(usual, "judgments/", vote_on(claim_by_api(usual), **changes))

    assert (went_short(short), went_short(long)) == (True, False)
    assert tell(short) == tell(long)
    assert (short.status_code, short["Content-Language"]) == (status, language)
    assert int(short["Content-Length"]) == len(short.content)


@pytest.mark.parametrize("first", ["de", "en"])
def test_a_refusal_is_in_her_language_whoever_was_served_before(kitchen, grace, hedy, as_grace, as_hedy, first):
    add_pairs(kitchen, 4)
    said = {}
    for client, user, language in ((as_grace, grace, "de"), (as_hedy, hedy, "en"))[:: 1 if first == "de" else -1]:
        user.desk = {"language": language}
        user.save()
        body = vote_on(claim_by_api(client)) | {"active_ms": -1, "slot": 0}
        said[language] = post(client, "judgments/", body).json()["active_ms"]

    assert said == {
        "de": ["Stelle sicher, dass dieser Wert größer oder gleich 0 ist."],
        "en": ["Ensure this value is greater than or equal to 0."],
    }


def test_a_replay_and_a_flood_are_answered_alike_on_both_ways(kitchen, as_grace, settings):
    add_pairs(kitchen, 3)
    body = vote_on(claim_by_api(as_grace))
    post(as_grace, "judgments/", body)
    settings.JUDGMENTS_PER_MINUTE = 1
    more = vote_on(claim_by_api(as_grace))

    short = [post(as_grace, "judgments/", said) for said in (body, more)]
    usual = as_usual(settings, as_grace)
    long = [post(usual, "judgments/", said) for said in (body, more)]

    assert [went_short(answer) for answer in short + long] == [True, True, False, False]
    assert [answer.status_code for answer in short] == [200, 429]
    assert (short[0].json(), short[1].headers.keys()) == (long[0].json(), long[1].headers.keys())
    assert 1 <= int(short[1]["Retry-After"]) <= 60
    assert Judgment.objects.count() == 1


def log_out(client, grace):
    client.post("/accounts/logout/")


def log_out_everywhere(client, grace):
    grace.set_password("another correct horse")
    grace.save()


def close_account(client, grace):
    grace.is_active = False
    grace.save()


def lose_cookie(client, grace):
    client.cookies.clear()


@pytest.mark.parametrize("act", [log_out, log_out_everywhere, close_account, lose_cookie])
def test_who_is_nobody_any_more_is_refused_on_the_usual_way(kitchen, grace, as_grace, act):
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))
    act(as_grace, grace)

    answer = post(as_grace, "judgments/", body)

    assert (answer.status_code, went_short(answer), Judgment.objects.count()) == (403, False, 0)


def test_the_cookie_of_a_session_serves_nobody_else(kitchen, grace, as_grace, as_hedy):
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))
    claim_by_api(as_hedy)

    answer = post(as_hedy, "judgments/", body)

    assert (answer.status_code, went_short(answer), Judgment.objects.count()) == (410, True, 0)


def test_a_suspended_member_is_refused(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))
    Membership.objects.filter(user=grace).update(is_active=False)

    answer = post(as_grace, "judgments/", body)

    assert (answer.status_code, Judgment.objects.count()) == (403, 0)


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 201), (TOKEN[::-1], 403), ("", 403)])
def test_without_the_csrf_token_nothing_is_stored(kitchen, grace, token, status):
    Project.objects.update(gold_share=0)
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(log_in(grace)))
    client = Client(enforce_csrf_checks=True)
    client.force_login(grace, backend="labeling.accounts.PasswordBackend")
    client.cookies["csrftoken"] = TOKEN
    client.get("/api/v1/projects/")  # whose session it is, is known now

    answer = post(client, "judgments/", body, **{"X-CSRFToken": token})

    assert (answer.status_code, went_short(answer)) == (status, status == 201)
    assert Judgment.objects.count() == int(status == 201)


def test_a_host_that_is_not_ours_is_refused(kitchen, as_grace):
    add_pairs(kitchen, 2)
    body = vote_on(claim_by_api(as_grace))

    answer = post(as_grace, "judgments/", body, Host="elsewhere.example")

    assert (answer.status_code, Judgment.objects.count()) == (400, 0)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": "{"}, 400),
        ({"data": "[1]"}, 400),
        ({"data": '{"slot": 1e999}'}, 400),
        ({"data": json.dumps({"slot": 1}).encode("utf-16")}, 400),
        ({"data": "\x00" * 70_000}, 400),
        ({"data": "{}", "content_type": "text/plain"}, 415),
        ({"data": "{}", "headers": {"Accept": "text/html"}}, 406),
        ({"data": "{}", "query_params": {"format": "xml"}}, 404),
    ],
)
def test_what_is_no_plain_vote_is_refused_on_the_usual_way(kitchen, as_grace, sent, status):
    as_grace.get("/api/v1/projects/")

    answer = as_grace.post(VOTES, **{"content_type": "application/json"} | sent)

    assert (answer.status_code, went_short(answer)) == (status, False)
