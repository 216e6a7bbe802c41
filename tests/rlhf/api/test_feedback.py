import pytest

from rlhf.domain.feedback.constitutions import STARTER
from rlhf.models import AIJudgment, Annotator
from tests.rlhf.domain.feedback.conftest import add_pairs

pytestmark = pytest.mark.django_db
HERE = {"project": "harbour", "name": "clara", "endpoint": "http://127.0.0.1:9/v1", "model": "m"}


def post(client, path, data):
    return client.post(f"/api/v1/{path}", data, content_type="application/json")


def test_from_a_constitution_to_a_run(as_manager, project):
    assert post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER}).json()["version"] == 1
    annotator = post(as_manager, "annotators/", HERE | {"decoding": {"orders": "one"}}).json()
    add_pairs(project, 3)

    run = post(as_manager, f"annotators/{annotator['id']}/ask/", {"n": 2})

    assert (run.status_code, run.json()["kind"], run.json()["config"]["orders"]) == (201, "feedback", "one")
    assert (annotator["exam"], annotator["weight"], annotator["decoding"]["orders"]) == ("open", 0.5, "one")
    assert [row["name"] for row in as_manager.get("/api/v1/annotators/").json()["results"]] == ["clara"]


@pytest.mark.parametrize(
    ("path", "data", "status", "message"),
    [
        ("annotators/", HERE, 400, "has no constitution"),
        ("constitutions/", {"project": "harbour", "principles": [{"id": "a"}]}, 400, "principle 1 needs a text"),
        ("runs/", {"project": "harbour", "kind": "feedback"}, 400, "is not a valid choice"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(as_manager, project, path, data, status, message):
    answer = post(as_manager, path, data)

    assert answer.status_code == status
    assert message in answer.content.decode()
    assert Annotator.objects.count() == 0


def test_an_exam_with_too_little_to_go_by_is_a_conflict(as_manager, project):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    annotator = post(as_manager, "annotators/", HERE).json()

    answer = post(as_manager, f"annotators/{annotator['id']}/exam/", {})

    assert (answer.status_code, AIJudgment.objects.count()) == (409, 0)


@pytest.mark.parametrize("path", ["constitutions/", "annotators/"])
def test_what_others_manage_is_not_there(as_manager, as_stranger, as_labeler, project, path):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    post(as_manager, "annotators/", HERE)

    assert as_stranger.get(f"/api/v1/{path}").json()["results"] == []
    assert as_labeler.get(f"/api/v1/{path}").status_code == 404
