import json
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain import overlap
from labeling.domain.assignment import claim_slot
from labeling.models import AuditEvent, Comparison
from rlhf.contract import run_dir as seam
from rlhf.domain import execution, runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.feedback import routing
from rlhf.domain.feedback.asking import ask_comparisons
from rlhf.domain.feedback.routing import route_judgments
from rlhf.models import AIJudgment
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


def say(annotator, comparison, p=0.95, **facts):
    AIJudgment.objects.create(annotator=annotator, comparison=comparison, **{"p": p, "p_ab": p, "p_ba": p} | facts)


def test_what_it_is_unsure_of_goes_to_people_first(project, annotator, labeler):
    pairs = add_pairs(project, 3)
    for pair in pairs[:2]:
        say(annotator, pair)
    say(annotator, pairs[2], p=0.5, needs_person=True)

    assert route_judgments(annotator, seed=1)[0].n_unsure == 1
    assert claim_slot(project, labeler).comparison == pairs[2]


def test_some_of_what_it_is_sure_of_is_audited(project, annotator):
    for pair in add_pairs(project, 400, overlap=0):
        say(annotator, pair)

    found, _ = route_judgments(annotator)

    assert 1 <= found.n_audit <= 42  # a twentieth of 400, give or take five deviations: the draw depends on ids
    assert Comparison.objects.filter(overlap__gt=0).count() == found.n_audit


def answer(run, **likelihoods: float) -> None:
    """End a run that asked as its worker would, with how likely each comparison's A is the better one."""
    claimed = runs.claim_run(run.pk)
    folder = run_folder(claimed)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "principle": "kind",
        "is_flip": False,
        "is_unclear": False,
        "is_refused": False,
        "critique": "",
        "n_tokens": 1,
    }
    rows = [facts | {"comparison_id": pk, "p": p, "p_raw": p, "p_ab": p, "p_ba": p} for pk, p in likelihoods.items()]
    (folder / seam.FEEDBACK).write_text("".join(json.dumps(row) + "\n" for row in rows))
    execution.publish(claimed, folder, {})


@pytest.mark.usefixtures("no_audit")
@pytest.mark.parametrize("route", [True, False])
def test_what_it_is_unsure_of_goes_to_people_by_itself_where_that_was_wanted(project, annotator, labeler, route):
    sure, unsure = add_pairs(project, 2, overlap=0)

    answer(ask_comparisons(annotator, [sure, unsure], route=route), **{str(sure.pk): 0.95, str(unsure.pk): 0.5})

    queued = Comparison.objects.filter(overlap__gt=0)
    assert list(queued) == ([unsure] if route else [])
    assert AuditEvent.objects.filter(verb="annotator.route").exists() is route


def test_routing_twice_changes_nothing(project, annotator):
    say(annotator, add_pairs(project, 1)[0], p=0.5, needs_person=True)

    first, second = route_judgments(annotator), route_judgments(annotator)

    assert first == second
    assert AuditEvent.objects.filter(verb="annotator.route").count() == 1


def test_what_people_have_judged_is_theirs(project, annotator, labeler):
    pair = add_pairs(project, 1)[0]
    judge_all(project, labeler, preference=-2)
    say(annotator, pair, p=0.5, needs_person=True)

    assert route_judgments(annotator)[0].n_unsure == 0


def test_an_audit_alone_is_an_event(project, annotator, monkeypatch):
    monkeypatch.setattr(routing, "AUDIT_SHARE", 1.0)
    for pair in add_pairs(project, 3, overlap=0):
        say(annotator, pair)

    route_judgments(annotator)

    event = AuditEvent.objects.get(verb="annotator.route")
    assert event.after == {"n_unsure": 0, "n_disputed": 0, "n_audit": 3, "n_unscored": 0}


def test_no_query_names_more_comparisons_than_a_chunk(project, annotator, monkeypatch):
    monkeypatch.setattr(overlap, "CHUNK", 3)
    for pair in add_pairs(project, 10, overlap=0):
        say(annotator, pair, p=0.5, needs_person=True)

    with CaptureQueriesContext(connection) as queries:
        route_judgments(annotator)

    named = [re.search(r"\"id\" IN \(([^)]*)\)", query["sql"]) for query in queries]
    assert max(found[1].count(",") + 1 for found in named if found) == 3
    assert Comparison.objects.filter(overlap=annotator.project.overlap, priority=100).count() == 10
