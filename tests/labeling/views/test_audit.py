import pytest

from labeling.domain import trail
from labeling.domain.audit import record_event
from labeling.domain.bulk import Change, change_rows
from labeling.domain.trail import Fact, read_facts
from labeling.models import AuditEvent
from tests.labeling.rows import add_pairs

pytestmark = pytest.mark.django_db

AUDIT = "/projects/kitchen/audit/"


def list_verbs(answer):
    return [line.event.verb for line in answer.context["trail"].lines]


@pytest.fixture
def events(kitchen, garden, ada, grace):
    AuditEvent.objects.all().delete()
    record_event(
        "member.pause", "grace", actor=ada, project=kitchen, before={"is_active": True}, after={"is_active": False}
    )
    record_event("project.edit", "Kitchen", actor=ada, project=kitchen, before={"overlap": 1}, after={"overlap": 2})
    record_event("member.decline", "grace", actor=grace, project=kitchen, after={"declined": ["law"]})
    record_event("project.edit", "Garden", actor=None, project=garden)


def test_the_trail_of_the_project_is_shown_newest_first(events, as_ada):
    answer = as_ada.get(AUDIT)

    assert list_verbs(answer) == ["member.decline", "project.edit", "member.pause"]
    assert "<del><bdi>1</bdi></del>" in answer.content.decode()


@pytest.mark.parametrize(
    ("query", "verbs"),
    [
        ("kind=member.", ["member.decline", "member.pause"]),
        ("verb=member.pause", ["member.pause"]),
        ("actor=grace", ["member.decline"]),
        ("subject=KITCH", ["project.edit"]),
        ("actor=ada&kind=guideline.", []),
    ],
)
def test_the_trail_is_filtered(events, as_ada, query, verbs):
    assert list_verbs(as_ada.get(f"{AUDIT}?{query}")) == verbs


@pytest.mark.parametrize("query", ["actor=nobody", "verb=%25", "before=x", "actor__password=1", "kind=all"])
def test_a_filter_that_cannot_be_is_answered_400(events, as_ada, query):
    answer = as_ada.get(f"{AUDIT}?{query}")

    assert (answer.status_code, list_verbs(answer)) == (400, [])


def test_every_event_is_on_one_page_whatever_the_window(events, as_ada, monkeypatch):
    monkeypatch.setattr(trail, "WINDOW_ROWS", 2)
    monkeypatch.setattr(trail, "PAGE_ROWS", 1)

    seen, before = [], None
    while True:
        answer = as_ada.get(AUDIT, {"before": before} if before else {})
        seen += list_verbs(answer)
        before = answer.context["trail"].before
        if not before:
            break

    assert seen == ["member.decline", "project.edit", "member.pause"]


def test_a_search_that_finds_nothing_yet_goes_on(events, as_ada, monkeypatch):
    monkeypatch.setattr(trail, "WINDOW_ROWS", 1)

    first = as_ada.get(AUDIT, {"verb": "project."})
    second = as_ada.get(AUDIT, {"verb": "project.", "before": first.context["trail"].before})

    assert (list_verbs(first), list_verbs(second)) == ([], ["project.edit"])
    assert "Go on with the search" in first.content.decode()


def test_what_an_event_says_is_readable(kitchen):
    event = AuditEvent(
        before={"state": {"open": [1, 2]}, "name": "x" * 300, "axes": []},
        after={"state": "retired", "ids": list(range(9)), "is_active": True},
    )

    assert read_facts(event) == [
        Fact(name="state", before="open: 1, 2", after="retired"),
        Fact(name="name", before=f"{'x' * 200}…", after=None),
        Fact(name="axes", before="–", after=None),
        Fact(name="ids", before=None, after="0, 1, 2, 3, 4 … 9 in all"),
        Fact(name="is_active", before=None, after="yes"),
    ]


def test_the_trail_asks_as_much_for_many_events_as_for_one(kitchen, ada, as_ada, django_assert_max_num_queries):
    counts = []
    for pair in add_pairs(kitchen, 3):
        change_rows(kitchen, "comparisons", [pair.pk], Change(act="retire"), actor=ada)
        with django_assert_max_num_queries(20) as queries:
            as_ada.get(AUDIT)
        counts.append(len(queries))

    assert counts[0] == counts[2]
