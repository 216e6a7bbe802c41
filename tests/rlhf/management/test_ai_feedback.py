"""The command does what the page does, and says what it did."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from rlhf.models import Annotator, FeedbackReport, Run
from tests.rlhf.conftest import make_checkpoint
from tests.rlhf.domain.feedback.conftest import add_clara, add_pairs, judge_and_ask

pytestmark = pytest.mark.django_db
HERE = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m")


def call(*arguments: str) -> str:
    output = StringIO()
    call_command("ai_feedback", *arguments, "--project", "harbour", stdout=output)
    return output.getvalue()


def test_from_a_constitution_to_a_question(project):
    assert call("constitution") == "constitution v1 of Harbour: 9 principles\n"
    assert call("annotator", "clara", *HERE, "--set", "orders=one") == (
        "clara judges by constitution v1 of Harbour; its exam is still to come\n"
    )
    add_pairs(project, 2)

    said = call("judge", "clara", "--n", "1")

    run = Run.objects.get()
    assert said == f"run {run.pk} (feedback) is queued; see {run.get_absolute_url()}\n"
    assert (run.config["orders"], run.dataset.n_train) == ("one", 1)
    assert call("route", "clara") == (
        "0 unsure comparisons and 0 on which the reward model is sure of the other side go to people first, "
        "0 sure ones for an audit.\n"
    )
    assert call("retire", "clara") == "clara is asked no more; what it said stays\n"
    assert call("status").splitlines() == [
        "constitution v1 of Harbour: 9 principles",
        "clara: m at http://127.0.0.1:9/v1, by constitution v1 of Harbour, exam not taken yet, retired; 0 judgments "
        "(0 flips, 0 left to people, 0 disputed by the reward model), 0 revisions",
    ]


def test_a_file_is_the_next_version(project, tmp_path: Path):
    call("constitution")
    path = tmp_path / "ours.json"
    path.write_text(json.dumps([{"id": "a", "critique": "b", "revision": "c", "comparison": "d"}]))

    assert call("constitution", "--file", str(path)) == "constitution v2 of Harbour: 1 principles\n"


def test_three_numbers_are_reported_side_by_side(project, labeler):
    judge_and_ask(project, add_clara(project), labeler)
    make_checkpoint(project)

    said = call("report", "--set", "max_steps=9").splitlines()

    report = FeedbackReport.objects.get()
    n = report.human.dataset.n_test
    assert said == [
        f"report {report.pk} on AI feedback of Harbour: reward models taught by people, by AI (clara) and by both, "
        f"tested on the same {n} of people's pairs",
        f"  people: {40 - n} pairs learned, run {report.human.pk} (reward) queued",
        f"  AI: {report.ai.dataset.n_train} pairs learned, run {report.ai.pk} (reward) queued",
        f"  both: {report.mixed.dataset.n_train} pairs learned, run {report.mixed.pk} (reward) queued",
    ]
    assert {run.config["max_steps"] for run in Run.objects.all()} == {9}
    assert call("status").splitlines()[-4:] == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("annotator", "clara", *HERE), "Harbour has no constitution"),
        (("annotator",), "name the annotator"),
        (("judge", "dora"), "Harbour has no annotator 'dora': it has none yet"),
        (("constitution", "--file", "/nowhere.json"), "No such file"),
    ],
)
def test_what_cannot_be_says_what_to_do(project, arguments, message):
    with pytest.raises(CommandError, match=message):
        call(*arguments)

    assert Annotator.objects.count() == 0
