import re

import pytest

from labeling.domain.bulk import Change, change_rows
from labeling.domain.gold import make_gold
from labeling.domain.overlap import set_overlap
from labeling.models import Comparison, Prompt, Skip, Slot
from tests.labeling.conftest import log_in, make_member
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, claim, judge, revise
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(kitchen):
    return add_pair(kitchen, overlap=2)


@pytest.fixture
def rita(kitchen):
    return make_member(kitchen, "rita", role="reviewer")


def page_of(pair):
    return f"/projects/kitchen/comparisons/{pair.pk}/"


def test_a_manager_reads_names_revisions_skips_gold_and_the_trail(kitchen, ada, grace, hedy, pair, as_ada):
    judgment = judge(claim(kitchen, grace), grace)
    revise(judgment, grace, 3, scale="seven", note="on second thought")
    Skip.objects.create(comparison=pair, labeler=hedy, reason="language")
    change_rows(kitchen, "comparisons", [pair.pk], Change(act="priority", value=3), actor=ada)
    make_gold(pair, ada, strength_min=1, strength_max=3)

    html = as_ada.get(page_of(pair)).content.decode()

    for words in (
        "grace",
        "on second thought",
        "changed once",
        "hedy",
        "Not my language",
        "gold: B is better",
        "comparison.priority",
    ):
        assert words in html, words
    newest = pair.judgments.latest("pk")
    assert f"lease {newest.lease_token}" in html
    assert f'<a href="/lineage/judgments/{newest.pk}/">Where this judgment went</a>' in html
    assert as_ada.get(f"/lineage/judgments/{newest.pk}/").status_code == 200


def test_a_reviewer_reads_numbers_and_no_gold(kitchen, ada, grace, hedy, pair, rita):
    judge(claim(kitchen, grace), grace)
    say(pair, hedy, 2, reason="gold")
    make_gold(pair, ada, strength_min=1, strength_max=3)

    answer = log_in(rita).get(page_of(pair))
    html = answer.content.decode()

    assert [said.name for said in answer.context["dossier"].said] == ["labeler 1"]
    hidden = ("grace", "hedy", "gold", 'name="act"', "Audit trail", "/lineage/", "lease ")
    assert [word in html for word in hidden] == [False] * 7


def test_a_badge_says_what_has_become_of_a_comparison(kitchen, ada, grace, as_ada):
    waiting, judged, kept, out, gold, gone, doubtful = pairs = [add_pair(kitchen, f"q {n}") for n in range(7)]
    Slot.objects.exclude(comparison=judged).update(state="shut")
    judge(claim(kitchen, grace), grace)
    Slot.objects.filter(comparison=waiting).update(state="free")
    Prompt.objects.filter(pk=kept.prompt_id).update(is_held_out=True)
    set_overlap([out.pk], 0, actor=ada)
    make_gold(gold, ada, strength_min=1, strength_max=3)
    change_rows(kitchen, "comparisons", [gone.pk], Change(act="retire"), actor=ada)
    Comparison.objects.filter(pk=doubtful.pk).update(state="triage")
    words = ["waits for labelers", "judged", "held out", "not queued", "gold", "retired", "waits for a reviewer"]

    def badges(client, address):
        return re.findall(r'<span class="badge" data-state="\w+">([^<]+)', client.get(address).content.decode())

    as_rita = log_in(make_member(kitchen, "rita", role="reviewer"))
    listed = badges(as_ada, "/projects/kitchen/comparisons/")
    to_rita = badges(as_rita, "/projects/kitchen/comparisons/")

    assert listed == words[::-1]
    assert [badges(as_ada, page_of(pair))[0] for pair in pairs] == words
    assert to_rita == ["waits for labelers" if word == "gold" else word for word in listed]
    assert "<td>shut</td>" not in as_rita.get(page_of(gold)).content.decode()
    assert [
        [shown.row.pk for shown, _said in as_ada.get(f"/projects/kitchen/comparisons/?state={state}").context["rows"]]
        for state in ("judged", "waits", "open")
    ] == [[judged.pk], [gold.pk, waiting.pk], [gold.pk, out.pk, kept.pk, judged.pk, waiting.pk]]


def test_what_others_said_stays_hidden_from_a_reviewer_who_judged_it(kitchen, grace, rita, pair):
    say(pair, grace, 2, note="so clear")
    say(pair, rita, -2)

    html = log_in(rita).get(page_of(pair)).content.decode()

    assert ("so clear" in html, "You had a part in this one" in html) == (False, True)


def test_one_comparison_is_changed_from_its_page(kitchen, pair, as_ada):
    answer = as_ada.post(
        "/projects/kitchen/data/comparisons/",
        {"act": "overlap", "overlap": "3", "scope": "ticked", "row": pair.pk, "query": f"number={pair.pk}"},
    )

    assert answer.url == f"/projects/kitchen/comparisons/?number={pair.pk}"
    assert pair.slots.count() == 3


def test_a_page_asks_as_much_for_three_votes_as_for_one(kitchen, pair, as_ada, django_assert_max_num_queries):
    counts = []
    for number in range(3):
        say(pair, make_member(kitchen, f"labeler-{number}"), 2)
        with django_assert_max_num_queries(40) as queries:
            as_ada.get(page_of(pair))
        counts.append(len(queries))

    assert counts[0] == counts[2]


def test_hostile_words_stay_words(kitchen, grace, as_ada):
    attack = "\n".join(PAYLOADS[:20])[:5000]
    pair = add_pair(kitchen, attack, text_a=attack, text_b=f"{attack} b")
    say(pair, grace, 2, note=attack, reasons=[attack[:100]], axes={attack[:50]: 2})

    html = as_ada.get(page_of(pair)).content.decode()

    assert "<script>alert" not in html
    assert "onerror=alert" not in html.replace("&lt;", "").split("<main")[0]


def test_a_comparison_of_another_project_is_not_found(garden, as_ada):
    assert as_ada.get(page_of(add_pair(garden))).status_code == 404
