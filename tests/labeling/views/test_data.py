import pytest
from django.http import QueryDict

from labeling.domain import bulk
from labeling.domain import search as searching
from labeling.domain.gold import make_gold
from labeling.models import AuditEvent, Comparison, Prompt, SavedView, Slot
from tests.labeling.conftest import log_in, make_member
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGES = ["prompts", "completions", "comparisons", "judgments"]
CHANGE = "/projects/kitchen/data/comparisons/"
ATTACKS = [
    "labeler__user__password__regex", "_connector", "_negated", "pk__in", "id", "pk", "project", "project__slug",
    "project_id", "prompt__project", "completion_a__author", "completion_a__author__password", "gold__pk",
    "gold__strength_min", "judgments__labeler", "judgments__labeler__password__startswith", "slots__lease_token",
    "labeler__password", "labeler__username", "author", "author__email", "prompt__messages", "messages__contains",
    "ordering", "order_by", "sort", "page", "limit", "fields", "where", "extra__gt", "text__regex", "__class__",
    "state__in", "n_judgments__gte", "slice__project__name", "before",
]  # fmt: skip


@pytest.fixture
def as_rita(kitchen):
    return log_in(make_member(kitchen, "rita", role="reviewer"))


def list_ids(answer):
    return [shown.row.pk for shown, _said in answer.context["rows"]]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_that_is_no_filter_is_answered_400_and_finds_nothing(kitchen, as_ada, page, name):
    """Many names at one address each: whatever the value, the answer is the same."""
    add_pair(kitchen)

    answers = [as_ada.get(f"/projects/kitchen/{page}/", {name: value}) for value in ("", "1", "^pbkdf2", "OR")]

    assert [(answer.status_code, list_ids(answer)) for answer in answers] == [(400, [])] * 4


@pytest.mark.parametrize(
    "query",
    ["state=gone", "number=0", "number=9223372036854775808", "since=yesterday", "split=maybe", "labeler=nobody",
     "after=-1", "after=1-2-3", "after=x", "fewest=-1", "overlap=101", "text=%00", "slice=none"],
)  # fmt: skip
def test_a_value_that_cannot_be_is_answered_400_at_its_field(kitchen, as_ada, query):
    answer = as_ada.get(f"/projects/kitchen/comparisons/?{query}")

    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [query.split("=")[0]]


@pytest.mark.parametrize("page", PAGES)
def test_words_and_facts_find_rows_and_the_way_on(kitchen, grace, as_ada, page, monkeypatch):
    for pair in add_pairs(kitchen, 3):
        say(pair, grace, 2)
    everything = list_ids(as_ada.get(f"/projects/kitchen/{page}/"))
    monkeypatch.setattr(searching, "WINDOW_ROWS", 1)
    monkeypatch.setattr(searching, "BUDGET_S", 0.0)

    seen, address = [], f"/projects/kitchen/{page}/?text=question"
    while address:
        answer = as_ada.get(address)
        seen += list_ids(answer)
        address = answer.context["older"] and f"/projects/kitchen/{page}/?{answer.context['older']}"

    assert seen == everything
    assert "<mark>question</mark>" in answer.content.decode()


def test_labelers_are_named_to_managers_and_their_judgments_found_by_name(kitchen, grace, hedy, as_ada):
    pair = add_pair(kitchen)
    hers = say(pair, grace, 2)
    say(pair, hedy, -2)

    answer = as_ada.get("/projects/kitchen/judgments/?labeler=grace")

    assert list_ids(answer) == [hers.pk]
    assert ">grace<" in answer.content.decode()


def test_reviewers_read_comparisons_and_nothing_that_tells_who_or_what_is_gold(kitchen, ada, grace, as_rita):
    plain, gold = add_pairs(kitchen, 2)
    make_gold(gold, ada, strength_min=1, strength_max=3)
    say(plain, grace, 2)

    answer = as_rita.get("/projects/kitchen/comparisons/")
    html = answer.content.decode()

    assert list_ids(answer) == [gold.pk, plain.pk]
    assert ("grace" in html, ">gold<" in html, 'name="gold"' in html, 'name="act"' in html) == (False,) * 4
    assert [
        as_rita.get(f"/projects/kitchen/comparisons/?{query}").status_code for query in ("gold=yes", "labeler=grace")
    ] == [400, 400]
    assert [as_rita.get(f"/projects/kitchen/{page}/").status_code for page in PAGES] == [403, 403, 200, 403]


def test_the_exact_text_of_a_prompt_leads_to_it(kitchen, as_ada):
    pair = add_pair(kitchen, "How?")

    html = as_ada.get("/projects/kitchen/comparisons/", {"text": "How?"}).content.decode()

    assert f"/projects/kitchen/prompts/{pair.prompt_id}/" in html


@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_as_much_for_three_rows_as_for_one(kitchen, as_ada, page, django_assert_max_num_queries):
    counts = []
    for number in range(3):
        say(add_pair(kitchen, f"question {number}"), make_member(kitchen, f"labeler-{number}"), 2)
        with django_assert_max_num_queries(30) as queries:
            as_ada.get(f"/projects/kitchen/{page}/")
        counts.append(len(queries))

    assert counts[0] == counts[2]


@pytest.mark.parametrize("page", PAGES)
def test_hostile_texts_stay_texts(kitchen, grace, as_ada, page):
    attack = PAYLOADS[0]
    pair = add_pair(kitchen, attack, text_a=attack, text_b=f"{attack} b")
    say(pair, grace, 2, note=attack)

    html = as_ada.get(f"/projects/kitchen/{page}/", {"text": attack}).content.decode()

    assert attack.lower() not in html.lower().replace("&lt;", "").replace("&#x27;", "'") or "<" not in attack
    assert "<script>alert" not in html


def post(client, ids=(), page="comparisons", **said):
    return client.post(f"/projects/kitchen/data/{page}/", {"scope": "ticked", "row": list(ids), "query": ""} | said)


def test_ticked_rows_are_changed_and_the_search_comes_back(kitchen, as_ada):
    first, second, _third = add_pairs(kitchen, 3)

    answer = post(as_ada, [first.pk, second.pk], act="retire", query="state=open&text=question")

    assert QueryDict(answer.url.split("?")[1]).dict() == {"text": "question", "state": "open"}
    assert list(Comparison.objects.filter(state="retired").order_by("id")) == [first, second]
    assert "2 rows were changed." in as_ada.get(answer.url).content.decode()


def test_all_rows_found_are_changed_after_a_question(kitchen, ada, as_ada):
    for pair in add_pairs(kitchen, 3):
        Comparison.objects.filter(pk=pair.pk).update(reason="active" if pair.pk % 2 else "random")
    wanted = Comparison.objects.filter(reason="active").count()

    asked = post(as_ada, act="priority", priority="5", scope="all", query="reason=active")
    said = {"scope": "all", "query": "reason=active", "act": "priority", "priority": "5", "confirmed": "on"}
    done = as_ada.post(CHANGE, said)

    assert (asked.status_code, asked.context["n"], done.status_code) == (200, wanted, 302)
    assert Comparison.objects.filter(priority=5).count() == Slot.objects.filter(priority=5).count() == wanted
    assert AuditEvent.objects.get(verb="comparison.priority").actor == ada


def test_what_takes_long_goes_on_in_another_trip(kitchen, as_ada, monkeypatch):
    add_pairs(kitchen, 5)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(bulk, "BUDGET_S", 0.0)

    said, n_trips = {"scope": "all", "query": "", "act": "retire", "confirmed": "on"}, 0
    while True:
        answer = as_ada.post(CHANGE, said)
        n_trips += 1
        if answer.status_code == 302:
            break
        said |= {"after": str(answer.context["after"]), "n_changed": str(answer.context["n"])}

    assert (n_trips, Comparison.objects.filter(state="retired").count()) == (3, 5)
    assert "5 rows were changed." in as_ada.get(answer.url).content.decode()


def test_prompts_are_put_into_a_slice(kitchen, as_ada):
    pair = add_pair(kitchen)

    post(as_ada, [pair.prompt_id], page="prompts", act="slice", slice_name="code", language="en")

    assert str(Prompt.objects.get().slice) == "code (en)"


@pytest.mark.parametrize(
    "said",
    [{"act": "delete"}, {"act": "overlap"}, {"act": "overlap", "overlap": "101"}, {"act": "retire", "query": "pk__in=1"},
     {"act": "priority", "priority": "x"}, {"act": "retire", "scope": "everything"}, {"act": "slice", "slice_name": "a\x00"}],
)  # fmt: skip
def test_a_change_that_cannot_be_is_refused(kitchen, as_ada, said):
    pair = add_pair(kitchen)

    answer = post(as_ada, [pair.pk], **said)

    assert answer.status_code in (400, 422)
    assert not AuditEvent.objects.filter(verb__startswith="comparison.").exists()


def test_ticking_nothing_changes_nothing_and_says_so(kitchen, as_ada):
    add_pair(kitchen)

    answer = post(as_ada, ["x", "-1", "9" * 30], act="retire")

    assert "Nothing was ticked" in as_ada.get(answer.url).content.decode()
    assert not Comparison.objects.filter(state="retired").exists()


@pytest.mark.parametrize("page", ["judgments", "completions", "nonsense"])
def test_what_people_said_and_wrote_is_never_changed(kitchen, as_ada, page):
    assert post(as_ada, [1], page=page, act="retire").status_code == 403


def test_a_prompt_is_shown_whole_with_its_completions(kitchen, as_ada):
    pair = add_pair(kitchen, "How **so**?")

    html = as_ada.get(f"/projects/kitchen/prompts/{pair.prompt_id}/").content.decode()

    assert ("How <strong>so</strong>?" in html, "A: How" in html, "1 comparison" in html) == (True, True, True)


def save(client, **changes):
    said = {"page": "comparisons", "query": "state=open&after=5&number=", "name": "Mine"} | changes
    return client.post("/projects/kitchen/views/", said)


def test_a_view_is_kept_without_its_place_and_replaced_by_its_name(kitchen, ada, as_ada):
    save(as_ada)
    save(as_ada, query="state=retired", is_shared="on")
    save(as_ada, query="state=retired", is_shared="on")

    assert SavedView.objects.values_list("owner", "name", "query", "is_shared").get() == (
        ada.pk, "Mine", "state=retired", True,
    )  # fmt: skip
    events = AuditEvent.objects.filter(verb="view.save").order_by("id").values_list("after__query", flat=True)
    assert list(events) == ["state=open", "state=retired"]


@pytest.mark.parametrize("changes", [{"query": "pk__in=1"}, {"query": "state=gone"}, {"name": ""}, {"page": "users"}])
def test_what_is_no_search_is_not_kept(kitchen, as_ada, changes):
    assert save(as_ada, **changes).status_code == 302
    assert not SavedView.objects.exists()


def test_shared_views_are_everybodys_and_only_what_she_may_ask(kitchen, as_ada, as_rita):
    save(as_ada, name="Shared", is_shared="on")
    save(as_ada, name="Private")
    save(as_ada, name="Gold", query="gold=yes", is_shared="on")

    names = [
        [view.name for view in client.get("/projects/kitchen/comparisons/").context["views"]]
        for client in (as_ada, as_rita)
    ]

    assert names == [["Gold", "Private", "Shared"], ["Shared"]]


def test_a_view_is_deleted_by_its_owner_and_a_shared_one_by_managers(kitchen, as_ada, as_rita):
    save(as_rita, name="hers")
    save(as_rita, name="ours", is_shared="on")
    hers, ours = SavedView.objects.order_by("name")

    statuses = [
        as_ada.post(f"/projects/kitchen/views/{hers.pk}/delete/").status_code,
        as_ada.post(f"/projects/kitchen/views/{ours.pk}/delete/").status_code,
        as_rita.post(f"/projects/kitchen/views/{hers.pk}/delete/").status_code,
        as_rita.post(f"/projects/kitchen/views/{hers.pk}/delete/").status_code,
    ]

    assert (statuses, SavedView.objects.count()) == ([404, 302, 302, 404], 0)
