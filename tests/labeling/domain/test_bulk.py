import pytest

from labeling.domain import bulk
from labeling.domain import search as searching
from labeling.domain.bulk import Change, Progress, change_all, change_rows, count_all, find_queued, plan_overlap
from labeling.domain.errors import InvalidContent
from labeling.domain.gold import make_gold
from labeling.domain.overlap import OverlapChange
from labeling.domain.search import Search
from labeling.models import AuditEvent, Comparison, Prompt, Slice, Slot
from tests.labeling.rows import add_pair, add_pairs, claim, judge

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ALL = Search(page="comparisons")


def states():
    return list(Comparison.objects.order_by("id").values_list("state", flat=True))


def slot_states():
    return list(Slot.objects.order_by("comparison", "number").values_list("state", flat=True))


def test_rows_are_retired_once_and_reopened(kitchen, ada, grace):
    ids = [pair.pk for pair in add_pairs(kitchen, 3)]
    claim(kitchen, grace)

    assert change_rows(kitchen, "comparisons", ids[:2], Change(act="retire"), actor=ada) == 2
    assert change_rows(kitchen, "comparisons", ids, Change(act="retire"), actor=ada) == 1
    assert (states(), sorted(slot_states())) == (["retired"] * 3, ["held", "shut", "shut"])
    assert change_rows(kitchen, "comparisons", ids, Change(act="reopen"), actor=ada) == 3
    assert (states(), sorted(slot_states())) == (["open"] * 3, ["free", "free", "held"])
    events = AuditEvent.objects.filter(verb__startswith="comparison.").order_by("id")
    assert [(row.verb, row.subject, row.before, row.after) for row in events] == [
        ("comparison.retire", "2 comparisons", {"state": {"open": ids[:2]}}, {"state": "retired", "ids": ids[:2]}),
        ("comparison.retire", f"comparison {ids[2]}", {"state": "open"}, {"state": "retired"}),
        ("comparison.reopen", "3 comparisons", {"state": {"retired": ids}}, {"state": "open", "ids": ids}),
    ]


def test_reopened_gold_and_held_out_prompts_stay_out_of_the_queue(kitchen, ada):
    gold, held_out, plain = add_pairs(kitchen, 3)
    make_gold(gold, ada, strength_min=1, strength_max=3)
    Prompt.objects.filter(pk=held_out.prompt_id).update(is_held_out=True)
    ids = [gold.pk, held_out.pk, plain.pk]

    for act in ("retire", "reopen"):
        change_rows(kitchen, "comparisons", ids, Change(act=act), actor=ada)

    assert slot_states() == ["shut", "shut", "free"]


def test_more_judgments_of_gold_are_never_queued(kitchen, ada):
    gold, plain = add_pairs(kitchen, 2)
    make_gold(gold, ada, strength_min=1, strength_max=3)

    assert change_rows(kitchen, "comparisons", [gold.pk, plain.pk], Change(act="overlap", value=3), actor=ada) == 1
    assert slot_states() == ["shut", "free", "free", "free"]
    event = AuditEvent.objects.get(verb="comparison.overlap")
    assert (event.subject, event.before, event.after) == (
        f"comparison {plain.pk}",
        {"overlap": "1"},
        {"overlap": 3, "n_added": 2, "n_removed": 0},
    )


def test_priority_and_slice_reach_the_slots(kitchen, ada):
    code = Slice.objects.create(project=kitchen, name="code")
    pair = add_pair(kitchen, overlap=2)

    assert change_rows(kitchen, "comparisons", [pair.pk], Change(act="priority", value=7), actor=ada) == 1
    assert change_rows(kitchen, "comparisons", [pair.pk], Change(act="slice", value=("code", "")), actor=ada) == 1
    assert change_rows(kitchen, "prompts", [pair.prompt_id], Change(act="slice", value=("code", "")), actor=ada) == 0

    assert list(Slot.objects.values_list("priority", "slice")) == [(7, code.pk)] * 2
    assert (Comparison.objects.get().priority, Prompt.objects.get().slice) == (7, code)
    event = AuditEvent.objects.get(verb="prompt.slice")
    assert (event.subject, event.before, event.after) == (
        f"prompt {pair.prompt_id}",
        {"slice": ""},
        {"slice": "code"},
    )


def test_rows_of_another_project_are_left_alone(kitchen, garden, ada):
    strange = add_pair(garden)

    for page in ("comparisons", "prompts"):
        change = Change(act="slice", value=("", "")) if page == "prompts" else Change(act="retire")
        assert change_rows(kitchen, page, [strange.pk, strange.prompt_id], change, actor=ada) == 0

    assert states() == ["open"]


@pytest.mark.parametrize(
    ("page", "change"),
    [
        ("comparisons", Change(act="delete")),
        ("prompts", Change(act="retire")),
        ("comparisons", Change(act="overlap", value=101)),
        ("comparisons", Change(act="priority", value=1001)),
    ],
)
def test_what_cannot_be_done_is_refused(kitchen, ada, page, change):
    pair = add_pair(kitchen)

    with pytest.raises(InvalidContent):
        change_rows(kitchen, page, [pair.pk], change, actor=ada)

    assert not AuditEvent.objects.filter(verb__startswith="comparison.").exists()


@pytest.mark.parametrize("text", ["", "question"])
def test_all_of_a_search_is_changed_however_often_the_time_runs_out(kitchen, ada, monkeypatch, text):
    add_pairs(kitchen, 7)
    add_pair(kitchen, "other")
    monkeypatch.setattr(searching, "WINDOW_ROWS", 3)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(bulk, "BUDGET_S", 0.0)
    search = Search(page="comparisons", text=text, facts={"state": "open"})

    n_changed, after, n_trips = 0, None, 0
    while n_trips == 0 or after:
        progress = change_all(kitchen, search, Change(act="retire"), actor=ada, after=after)
        n_changed, after, n_trips = n_changed + progress.n_changed, progress.after, n_trips + 1

    assert n_changed == states().count("retired") == (7 if text else 8)
    assert n_trips > 2


def test_counting_stops_early_and_says_so(kitchen, monkeypatch):
    add_pairs(kitchen, 5)

    assert count_all(kitchen, ALL) == (5, False)
    monkeypatch.setattr(searching, "WINDOW_ROWS", 2)
    monkeypatch.setattr(bulk, "MAX_COUNTED", 2)
    assert count_all(kitchen, ALL) == (2, True)


def test_the_plan_of_an_overlap_is_what_becomes_of_it(kitchen, ada, grace):
    add_pairs(kitchen, 2, overlap=3)
    add_pair(kitchen, "single")
    add_pair(kitchen, "kept out", overlap=0)
    gold = add_pair(kitchen, "gold")
    make_gold(gold, ada, strength_min=1, strength_max=3)
    for _ in range(3):
        judge(claim(kitchen, grace), grace)
    before = Slot.objects.count()

    plan = plan_overlap(kitchen, 2)
    change = Change(act="overlap", value=2)

    assert plan == OverlapChange(n_comparisons=3, n_added=1, n_removed=2)
    assert change_all(kitchen, find_queued(kitchen), change, actor=ada) == Progress(n_changed=3)
    assert Slot.objects.count() == before + plan.n_added - plan.n_removed
    assert plan_overlap(kitchen, 2) == OverlapChange()
