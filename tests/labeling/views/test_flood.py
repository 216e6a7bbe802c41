import json
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.models import Judgment, Skip
from tests.labeling.conftest import log_in
from tests.labeling.rows import add_pairs, claim, judge, run_together
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGE = "/judge/kitchen/"
HTMX = {"HX-Request": "true"}


def vote_fields(slot):
    return {
        "slot": slot.pk,
        "lease_token": slot.lease_token,
        "scale": "quick",
        "choice": "left",
        "idempotency_key": uuid.uuid4(),
    }


def count_refusal(answer):
    return answer.status_code, 1 <= int(answer["Retry-After"]) <= 60


def test_a_flood_of_votes_is_put_off_without_a_row_and_taken_again_later(kitchen, grace, as_grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 2
    first, second, third = add_pairs(kitchen, 3)
    say(first, grace, 1)
    say(second, grace, 1)
    fields = vote_fields(claim(kitchen, grace))

    refused = as_grace.post(f"{PAGE}judgments/", fields, headers=HTMX)

    assert count_refusal(refused) == (429, True)
    assert refused["Content-Type"] == "text/plain; charset=utf-8"
    assert refused.content.decode().startswith("That was 2 in a minute, faster than anyone can read. Try again in")
    assert not third.judgments.exists()
    settings.JUDGMENTS_PER_MINUTE = 3
    assert as_grace.post(f"{PAGE}judgments/", fields, headers=HTMX).status_code == 200
    assert third.judgments.get().idempotency_key == fields["idempotency_key"]


def test_a_flood_of_revisions_and_skips_is_put_off_and_looking_is_free(kitchen, grace, as_grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 1
    add_pairs(kitchen, 3)
    judgment = judge(claim(kitchen, grace), grace)
    address = f"{PAGE}judgments/{judgment.pk}/"
    slot = claim(kitchen, grace)
    skip = {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "unsafe"}
    assert as_grace.post(f"{PAGE}skips/", skip, headers=HTMX).status_code == 200
    slot = claim(kitchen, grace)
    skip = {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "unsafe"}

    assert as_grace.get(address).status_code == 200
    assert count_refusal(as_grace.post(address, {"choice": "left"}, headers=HTMX)) == (429, True)
    assert count_refusal(as_grace.post(f"{PAGE}skips/", skip, headers=HTMX)) == (429, True)
    assert (Judgment.objects.count(), Skip.objects.count()) == (1, 1)


def test_a_program_is_told_when_to_come_back(kitchen, grace, as_grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 1
    pair, _ = add_pairs(kitchen, 2)
    say(pair, grace, 1)
    Skip.objects.create(comparison=pair, labeler=grace, reason="unsafe")
    slot = claim(kitchen, grace)
    vote = {"slot": slot.pk, "lease_token": str(slot.lease_token), "preference": 1}
    skip = {"slot": slot.pk, "lease_token": str(slot.lease_token), "reason": "unsafe"}

    answers = [
        as_grace.post(
            address, json.dumps(body), content_type="application/json", headers={"Idempotency-Key": str(uuid.uuid4())}
        )
        for address, body in [("/api/v1/judgments/", vote), ("/api/v1/projects/kitchen/skips/", skip)]
    ]

    assert [count_refusal(answer) for answer in answers] == [(429, True)] * 2
    assert answers[0].json()["detail"].startswith("That was 1 in a minute")
    assert (Judgment.objects.count(), Skip.objects.count()) == (1, 1)


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_four_at_once_get_no_more_than_their_own_number_over_the_limit(kitchen, grace, settings):
    settings.JUDGMENTS_PER_MINUTE = 10
    pairs = add_pairs(kitchen, 12)
    for pair in pairs[:9]:
        say(pair, grace, 1, submitted_at=timezone.now() - timedelta(seconds=30))
    clients = [log_in(grace) for _ in range(4)]
    slot = claim(kitchen, grace)

    def flood(client):
        bodies = [vote_fields(slot) for _ in range(5)]
        return [client.post(f"{PAGE}judgments/", body, headers=HTMX).status_code for body in bodies]

    statuses = [
        status for answers in run_together(*[lambda c=client: flood(c) for client in clients]) for status in answers
    ]

    assert set(statuses) <= {200, 409, 429}
    assert statuses.count(429) >= 15
    assert 10 <= Judgment.objects.count() <= 13
