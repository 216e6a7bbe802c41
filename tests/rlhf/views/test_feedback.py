import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from labeling.models import Comparison
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, find_newest, write_constitution
from rlhf.models import AIJudgment, Annotator, FeedbackReport, Run
from tests.rlhf.conftest import make_checkpoint
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_and_ask

pytestmark = pytest.mark.django_db
PAGE = "/feedback/harbour/"
FIELDS = {"name": "clara", "orders": "both", "reasoning": "none", "weight": "0.5"}
ENDPOINT = {"endpoint": "http://127.0.0.1:9/v1", "model": "m"}


@pytest.fixture
def clara(project):
    write_constitution(project, STARTER)
    return add_annotator(project, "clara", **ENDPOINT)


def test_a_manager_of_one_project_comes_right_to_it(as_manager, project):
    assert as_manager.get("/feedback/").url == PAGE


def test_all_projects_are_listed_for_whoever_has_several(as_admin, project, other_project):
    write_constitution(project, STARTER)

    page = as_admin.get("/feedback/").content.decode()

    assert (page.count('<th scope="row">'), page.count("version 1"), page.count("none yet")) == (2, 1, 1)


def test_the_list_costs_no_more_queries_for_more_annotators(as_admin, project, other_project, clara):
    with CaptureQueriesContext(connection) as queries:
        as_admin.get("/feedback/")
    write_constitution(other_project, STARTER)
    add_annotator(other_project, "theirs", **ENDPOINT)

    with CaptureQueriesContext(connection) as more:
        page = as_admin.get("/feedback/").content.decode()

    assert (page.count('<td class="number">1</td>'), len(more)) == (2, len(queries))


@pytest.mark.parametrize("path", ["", "constitutions/", "annotators/"])
def test_it_is_not_there_for_labelers_and_strangers(path, as_labeler, as_stranger, project):
    for client in (as_labeler, as_stranger):
        answer = client.get(PAGE) if path == "" else client.post(f"{PAGE}{path}")
        assert answer.status_code == 404


def test_the_starter_is_offered_and_becomes_version_1(as_manager, project):
    page = as_manager.get(PAGE).content.decode()
    assert "A constitution to start from" in page
    assert "Add an annotator" not in page

    answer = as_manager.post(f"{PAGE}constitutions/", {"principles": json.dumps(STARTER)})

    assert (answer.status_code, find_newest(project).version) == (302, 1)
    assert "Add an annotator" in as_manager.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "This is not JSON"),
        ("{}", "Write a list of principles"),
        ('[{"id": "a"}]', "principle 1 needs a text for critique"),
    ],
)
def test_a_constitution_that_cannot_be_is_shown_again_with_the_reason(as_manager, project, text, message):
    answer = as_manager.post(f"{PAGE}constitutions/", {"principles": text})

    assert (answer.status_code, find_newest(project)) == (422, None)
    assert message in answer.content.decode()


def test_an_annotator_is_added_from_the_page(as_manager, project, manager):
    write_constitution(project, STARTER)
    checkpoint = make_checkpoint(project, name="judge")

    answer = as_manager.post(f"{PAGE}annotators/", FIELDS | {"checkpoint": checkpoint.pk})

    assert answer.status_code == 302
    assert Annotator.objects.values_list("name", "checkpoint", "created_by").get() == (
        "clara",
        checkpoint.pk,
        manager.pk,
    )


def test_an_endpoint_that_is_not_allowed_is_refused_beside_its_field(as_manager, project):
    write_constitution(project, STARTER)

    answer = as_manager.post(f"{PAGE}annotators/", FIELDS | {"endpoint": "https://models.example.org/v1", "model": "m"})

    assert answer.status_code == 422
    assert "add it to AI_ENDPOINTS" in answer.content.decode()


def test_asking_starts_a_run(as_manager, project, clara):
    add_pairs(project, 3)

    answer = as_manager.post(
        f"{PAGE}annotators/{clara.pk}/ask/", {"task": "judge", "n": 2, "n_turns": 1, "route": "on"}
    )

    run = Run.objects.get()
    assert run.dataset.rule["route"] is True
    assert (answer.url, run.kind, run.dataset.n_train) == (run.get_absolute_url(), "feedback", 2)
    page = as_manager.get(answer.url).content.decode()
    assert "AI feedback" in page


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("ask", {"task": "judge", "n": 2, "n_turns": 1}, "has been asked about every open comparison"),
        ("ask", {"task": "revise", "n": 2, "n_turns": 1}, "there is no completion left"),
        ("exam", {}, "an exam needs 200"),
    ],
)
def test_what_cannot_be_done_says_why(as_manager, project, clara, path, data, message):
    answer = as_manager.post(f"{PAGE}annotators/{clara.pk}/{path}/", data)

    assert answer.status_code == 409
    assert message in answer.content.decode()


def test_the_unsure_are_sent_to_people_and_an_annotator_retires(as_manager, project, clara):
    pair = add_pairs(project, 1)[0]
    AIJudgment.objects.create(
        annotator=clara, comparison=pair, p=0.5, p_ab=0.9, p_ba=0.1, is_flip=True, needs_person=True
    )

    as_manager.post(f"{PAGE}annotators/{clara.pk}/route/")
    as_manager.post(f"{PAGE}annotators/{clara.pk}/retire/")

    assert Comparison.objects.get(pk=pair.pk).priority == 100
    page = as_manager.get(PAGE).content.decode()
    assert "1 judgment: 1 changed with the order, 1 left to people" in page
    assert "retired" in page


def test_three_annotators_cost_no_more_queries_than_one(as_manager, project, clara, django_assert_num_queries):
    with CaptureQueriesContext(connection) as queries:
        as_manager.get(PAGE)
    for name in ("dora", "emma"):
        add_annotator(project, name, **ENDPOINT)

    with django_assert_num_queries(len(queries)):
        as_manager.get(PAGE)


def test_an_annotator_of_another_project_is_not_found(as_manager, clara, other_project):
    write_constitution(other_project, STARTER)
    theirs = add_annotator(other_project, "theirs", **ENDPOINT)

    assert as_manager.post(f"{PAGE}annotators/{theirs.pk}/retire/").status_code == 404


def test_what_ai_labels_are_worth_is_asked_and_shown_with_intervals_and_numbers(as_manager, project, clara, labeler):
    assert "What its labels are worth" not in as_manager.get(PAGE).content.decode()
    judge_and_ask(project, clara, labeler)
    make_checkpoint(project)

    answer = as_manager.post(f"{PAGE}reports/", {"annotators": ["clara"]})

    report = FeedbackReport.objects.get()
    assert (answer.url, report.annotators) == (PAGE, ["clara"])
    n = report.human.dataset.n_test
    said = {"eval_accuracy": 0.75, "eval_accuracy_low": 0.5, "eval_accuracy_high": 0.9, "n_test": n, "n_test_ties": 0}
    Run.objects.filter(pk=report.human.pk).update(state="succeeded", finished_at=report.created_at, result=said)
    page = as_manager.get(PAGE).content.decode()
    rows = [strip_tags(row).split("\n") for row in page.split('aria-labelledby="worth"')[1].split("<tr>")[2:5]]
    rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert rows[0][:5] == ["people", "75.0%", "50.0% to 90.0%", str(n), str(40 - n)]
    assert [row[0] for row in rows] == ["people", "AI", "both"]
    assert rows[1][-1] == f"Run {report.ai.pk} queued"


@pytest.mark.parametrize(("annotators", "status"), [([], 422), (["nobody"], 422), (["clara"], 409)])
def test_a_report_that_cannot_be_says_why(as_manager, project, clara, annotators, status):
    Annotator.objects.filter(pk=clara.pk).update(exam="passed")
    make_checkpoint(project)

    answer = as_manager.post(f"{PAGE}reports/", {"annotators": annotators})

    assert answer.status_code == status
    assert status == 422 or "nothing to learn from people" in answer.content.decode()
    assert FeedbackReport.objects.count() == 0
