import pytest
from django.utils import timezone

from labeling.domain import search as searching
from labeling.domain.errors import InvalidContent
from labeling.domain.filters import FILTERS
from labeling.domain.gold import make_gold
from labeling.domain.pairing import add_prompt
from labeling.domain.search import Place, Search, find_prompt, find_rows
from labeling.models import Comparison, Prompt, SavedView, Slice
from tests.labeling.conftest import make_member
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = [pytest.mark.django_db, pytest.mark.database]

PAGES = list(SavedView.Page)


def find(project, page="comparisons", text="", after=None, **facts):
    return find_rows(project, Search(page=page, text=text, facts=facts), after=after)


def list_ids(found):
    return [hit.row.pk for hit in found.hits]


@pytest.fixture
def pairs(kitchen, garden):
    add_pair(garden, "question 1 of the garden")
    return add_pairs(kitchen, 3)


@pytest.mark.parametrize(("page", "n"), [("prompts", 3), ("completions", 6), ("comparisons", 3), ("judgments", 1)])
def test_each_page_shows_the_rows_of_its_project_newest_first(kitchen, garden, pairs, grace, eve, page, n):
    say(pairs[0], grace, 2)
    say(Comparison.objects.get(project=garden), eve, 2)

    ids = list_ids(find(kitchen, page))

    assert len(ids) == n
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_two_rows_hold_every_row_once(kitchen, pairs, grace, page, monkeypatch):
    for pair in pairs:
        say(pair, grace, 1)
    whole, pieces, after = list_ids(find(kitchen, page)), [], None
    monkeypatch.setattr(searching, "WINDOW_ROWS", 2)

    while True:
        found = find_rows(kitchen, Search(page=page), after=after, n=2)
        pieces += list_ids(found)
        after = found.after
        if after is None:
            break

    assert pieces == whole


def test_a_search_stops_after_its_time_and_goes_on_from_there(kitchen, monkeypatch):
    pairs = add_pairs(kitchen, 6)
    monkeypatch.setattr(searching, "WINDOW_ROWS", 2)
    monkeypatch.setattr(searching, "BUDGET_S", 0.0)

    first = find(kitchen, text="question 0")
    second = find(kitchen, text="question 0", after=first.after)
    third = find(kitchen, text="question 0", after=second.after)

    assert [(list_ids(found), found.is_window) for found in (first, second, third)] == [
        ([], True),
        ([], True),
        ([pairs[0].pk], False),
    ]
    assert third.after is None


@pytest.mark.parametrize("words", ["QUESTION 1", "b: question 1", "über 東京", '"quoted" <b>', "back\\slash"])
def test_words_are_found_in_any_text_whatever_the_case_and_script(kitchen, pairs, words):
    add_pair(kitchen, 'Über 東京 and "quoted" <b> and back\\slash')

    found = find(kitchen, text=words)

    assert len(found.hits) == 1
    assert found.hits[0].excerpt.hit.lower() == words.lower()


def test_a_note_is_found_with_its_judgment(kitchen, pairs, grace, hedy):
    judgment = say(pairs[0], grace, 2, note="100% sure")
    say(pairs[1], hedy, 2, note="1000 sure")

    assert list_ids(find(kitchen, "judgments", text="100% sure")) == [judgment.pk]


def test_the_whole_text_of_a_prompt_names_it(kitchen, pairs):
    assert find_prompt(kitchen, "question 2") == pairs[2].prompt
    assert find_prompt(kitchen, "question") is None


def test_every_filter_keeps_what_it_says(kitchen, ada, grace, hedy):
    code = Slice.objects.create(project=kitchen, name="code", language="de")
    one, two, three = add_pairs(kitchen, 3)
    Prompt.objects.filter(pk=one.prompt_id).update(slice=code)
    Comparison.objects.filter(pk=two.pk).update(state="retired", reason="active")
    make_gold(three, ada, strength_min=1, strength_max=3)
    say(one, grace, 2, unsafe_a=True)
    say(one, hedy, -2, both_bad=True)
    today = timezone.localdate()

    searches = {
        "number": one.pk, "prompt": one.prompt_id, "slice": "code", "language": "de", "fewest": 2, "split": True,
        "unsafe": True, "both_bad": True, "verdict": "B", "labeler": grace,
    }  # fmt: skip
    for name, value in searches.items():
        assert list_ids(find(kitchen, **{name: value})) == [one.pk], name
    assert list_ids(find(kitchen, state="retired")) == list_ids(find(kitchen, reason="active")) == [two.pk]
    assert list_ids(find(kitchen, gold=True)) == [three.pk]
    for facts in ({"gold": False}, {"state": "open"}, {"most": 0}, {"unsafe": False}, {"both_bad": False}):
        assert len(list_ids(find(kitchen, **facts))) == 2, facts
    assert len(list_ids(find(kitchen, since=today, until=today))) == 3
    assert list_ids(find(kitchen, queued=False)) == []


def test_filters_of_the_other_pages(kitchen, grace, hedy):
    pair = add_pair(kitchen)
    alone = add_prompt(kitchen, [{"role": "user", "content": "alone"}])
    yes = say(pair, grace, 2, note="why", is_hasty=True)
    no = say(pair, hedy, -2)

    assert list_ids(find(kitchen, "prompts", compared=False)) == [alone.pk]
    assert list_ids(find(kitchen, "prompts", compared=True)) == [pair.prompt_id]
    assert list_ids(find(kitchen, "completions", prompt=pair.prompt_id)) == [pair.completion_b_id, pair.completion_a_id]
    assert list_ids(find(kitchen, "completions", number=pair.completion_a_id)) == [pair.completion_a_id]
    assert list_ids(find(kitchen, "completions", written=True)) == []
    assert list_ids(find(kitchen, "completions", demonstration=True)) == []
    for facts in ({"verdict": "B"}, {"labeler": grace}, {"note": True}, {"hasty": True}, {"number": yes.pk}):
        assert list_ids(find(kitchen, "judgments", **facts)) == [yes.pk], facts
    for facts in ({"unsafe": False}, {"both_bad": False}, {"extra": True}, {"revised": False}, {"comparison": pair.pk}):
        assert list_ids(find(kitchen, "judgments", **facts)) == [no.pk, yes.pk], facts


@pytest.mark.parametrize("page", PAGES)
def test_every_filter_can_be_asked_of_the_database(kitchen, page):
    today = timezone.localdate()
    values = {"since": today, "until": today, "labeler": make_member(kitchen, "joan")}

    for name in FILTERS[page]:
        assert find(kitchen, page, **{name: values.get(name, 1)}).hits == []


@pytest.mark.parametrize("name", ["labeler__user__password__regex", "_connector", "pk__in", "project", "gold__pk"])
def test_a_name_that_is_no_filter_is_refused(name):
    with pytest.raises(InvalidContent):
        Search(page="comparisons", facts={name: "1"})


def test_a_page_begins_after_its_place(kitchen):
    pair = add_pair(kitchen)

    after = Place(pair.prompt_id, pair.completion_b_id)

    assert list_ids(find(kitchen, "completions", after=after)) == [pair.completion_a_id]
