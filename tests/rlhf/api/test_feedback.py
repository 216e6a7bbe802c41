import pytest

from rlhf.domain.feedback import routing
from rlhf.domain.feedback.constitutions import STARTER
from rlhf.models import AIJudgment, Annotator, Run
from tests.rlhf.conftest import make_checkpoint
from tests.rlhf.domain.feedback.conftest import add_clara, add_pairs, judge_and_ask

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


def test_a_checkpoint_of_others_is_as_little_there_as_one_that_is_not(as_manager, project, other_project):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    theirs = make_checkpoint(other_project, name="secret")

    for pk in (theirs.pk, theirs.pk + 1, 2**63 - 1):
        answer = post(as_manager, "annotators/", {"project": "harbour", "name": "clara", "checkpoint": pk})
        words = f"Harbour has no policy {pk}: take an id from /checkpoints/"
        assert (answer.status_code, answer.json()) == (400, {"checkpoint": [words]})

    ours = make_checkpoint(project)
    answer = post(as_manager, "annotators/", {"project": "harbour", "name": "clara", "checkpoint": ours.pk})
    assert (answer.status_code, answer.json()["checkpoint"]) == (201, ours.pk)


def test_what_is_in_doubt_is_sent_to_people_and_what_is_not_scored_yet_is_scored(as_manager, project, monkeypatch):
    monkeypatch.setattr(routing, "AUDIT_SHARE", 0.0)
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    clara = Annotator.objects.get(pk=post(as_manager, "annotators/", HERE).json()["id"])
    unsure, sure = add_pairs(project, 2)
    AIJudgment.objects.create(annotator=clara, comparison=unsure, p=0.5, p_ab=0.5, needs_person=True)
    AIJudgment.objects.create(annotator=clara, comparison=sure, p=0.9, p_ab=0.9)
    make_checkpoint(project, kind="reward")

    answer = post(as_manager, f"annotators/{clara.pk}/route/", {})

    run = Run.objects.get()
    said = {"n_unsure": 1, "n_disputed": 0, "n_audit": 0, "n_unscored": 1, "run": run.pk}
    assert (answer.status_code, answer.json(), run.kind) == (200, said, "score")


def test_an_annotator_is_retired(as_manager, as_stranger, project):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    clara = post(as_manager, "annotators/", HERE).json()

    assert post(as_stranger, f"annotators/{clara['id']}/retire/", {}).status_code == 404
    assert post(as_manager, f"annotators/{clara['id']}/retire/", {}).json() == clara | {"is_active": False}


@pytest.mark.parametrize(
    "facts",
    [
        {"endpoint": "http://[bad/v1"},
        {"endpoint": "http://127.0.0.1:999999/v1"},
        {"decoding": {"temperature": 10**400}},
        {"decoding": {"max_new_tokens": 10**30}},
        {"decoding": {"\ud800": 1}},
        {"decoding": {"orders": "\ud800"}},
    ],
)
def test_an_annotator_that_cannot_be_asked_is_refused_in_words(as_manager, project, facts):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})

    assert post(as_manager, "annotators/", HERE | facts).status_code == 400


@pytest.mark.parametrize("text", ["\0", "\ud800"])
@pytest.mark.parametrize("name", ["id", "critique", "tags"])
def test_a_principle_that_no_database_keeps_is_refused_in_words(as_manager, project, name, text):
    broken = STARTER[0] | {name: [text] if name == "tags" else f"x{text}"}

    answer = post(as_manager, "constitutions/", {"project": "harbour", "principles": [broken]})

    assert (answer.status_code, list(answer.json())) == (400, ["principles"])
    assert as_manager.get("/feedback/harbour/").status_code == 200


def test_a_double_click_is_a_conflict(as_manager, project):
    post(as_manager, "constitutions/", {"project": "harbour", "principles": STARTER})
    annotator = post(as_manager, "annotators/", HERE).json()
    add_pairs(project, 3)

    statuses = [post(as_manager, f"annotators/{annotator['id']}/ask/", {"n": 2}).status_code for _ in range(2)]

    assert statuses == [201, 409]


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


def test_a_report_is_asked_for_and_read(as_manager, as_stranger, project, labeler):
    judge_and_ask(project, add_clara(project), labeler)
    make_checkpoint(project)

    made = post(as_manager, "feedback-reports/", {"project": "harbour"})

    assert made.status_code == 201
    report = made.json()
    assert (report["annotators"], [row["taught_by"] for row in report["figures"]]) == (
        ["clara"],
        ["human", "ai", "mixed"],
    )
    assert {(row["state"], row["accuracy"]) for row in report["figures"]} == {("queued", None)}
    assert as_manager.get(f"/api/v1/feedback-reports/{report['id']}/").json() == report
    assert as_stranger.get("/api/v1/feedback-reports/").json()["results"] == []
    again = post(as_manager, "feedback-reports/", {"project": "harbour"})
    assert (again.status_code, "is under way" in again.json()["detail"]) == (409, True)
