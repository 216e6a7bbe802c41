import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain import overlap
from labeling.domain.assignment import claim_slot
from labeling.models import AuditEvent, Comparison
from rlhf.domain.feedback import routing
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
