"""Every body the schema describes, with one thing wrong at a time: refused with a reason, and nothing stored."""

import json
import uuid
from functools import cache

import pytest
from drf_spectacular.generators import SchemaGenerator

from labeling.models import Judgment, Skip, Slot
from tests.labeling.rows import add_pair, claim

pytestmark = pytest.mark.django_db

OURS = ("/api/v1/projects/", "/api/v1/claims/", "/api/v1/judgments/")
WRONG = {
    "integer": ["much", 1.5, [], {}, None, 2**70, "\x00"],
    "string": [[], {}, None, "\x00", "\ud800", "x" * 200_000],
    "boolean": ["perhaps", [], {}, None, 7],
    "array": ["rude", {"a": 1}, None, 7, [[]], [None], ["\x00"]],
    "object": ["rude", [1], None, 7, {"a": []}, {"a": "b"}, {"\x00": 1}],
}
# Read leniently on purpose: nobody loses a vote over how it was made, and a reason for a slot of 2**70 is its absence.
LENIENT = {("trace", "{'a': []}"), ("trace", "{'a': 'b'}"), ("trace", "{'\\x00': 1}")}


@cache
def list_bodies():
    """Return address, field and wrong value for every field of every body our part of the schema knows."""
    schema = SchemaGenerator().get_schema(public=True)
    cases = []
    for path, operations in schema["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if path.startswith(OURS) and body:
            name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            for field, told in schema["components"]["schemas"][name]["properties"].items():
                kind = told.get("type") or "object" if "allOf" in told or "$ref" in told else told.get("type", "string")
                cases += [(path, field, value) for value in WRONG[kind]]
    return [case for case in cases if (case[1], repr(case[2])) not in LENIENT]


def test_the_schema_has_three_acts_with_a_body():
    assert {path for path, *_ in list_bodies()} == {
        "/api/v1/claims/{slot_id}/renew/",
        "/api/v1/judgments/",
        "/api/v1/projects/{slug}/skips/",
    }


@pytest.mark.parametrize("path", sorted({path for path, *_ in list_bodies()}))
def test_one_wrong_thing_in_a_body_is_refused_and_nothing_is_stored(kitchen, grace, as_grace, path):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    address = path.format(slot_id=slot.pk, slug="kitchen")
    good = {
        "slot": slot.pk,
        "lease_token": str(slot.lease_token),
        "preference": 1,
        "reason": "unsafe",
        "idempotency_key": str(uuid.uuid4()),
    }

    answers = {
        f"{field}={value!r:.40}": as_grace.post(
            address, json.dumps(good | {field: value}), content_type="application/json"
        ).status_code
        for wrong_path, field, value in list_bodies()
        if wrong_path == path
    }

    assert {case: status for case, status in answers.items() if status not in (400, 410)} == {}
    assert (Judgment.objects.count(), Skip.objects.count(), Slot.objects.get().state) == (0, 0, "held")
