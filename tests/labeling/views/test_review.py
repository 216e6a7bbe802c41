from __future__ import annotations

import re

import pytest

from labeling.models import Adjudication, Comparison, Project, Skip
from labeling.models.scales import list_strengths
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGE = "/projects/kitchen/review/"
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/projects/kitchen/review/"}


@pytest.fixture
def rita(kitchen):
    return make_member(kitchen, "rita", role="reviewer")


@pytest.fixture
def as_rita(rita):
    return log_in(rita)


def dispute(project, grace, hedy, question="Boil or fry?", **changes):
    pair = add_pair(project, question, overlap=2)
    say(pair, grace, -2, **changes)
    say(pair, hedy, 3)
    return pair


def read_hidden(html):
    form = html[html.index("data-decision") :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[: form.index("</form>")]))


def decide(client, pair, *, page="", headers=None, **said):
    html = page or client.get(f"{PAGE}{pair.pk}/").content.decode()
    return client.post(f"{PAGE}{pair.pk}/", read_hidden(html) | said, headers=headers or {})


def test_reviewers_and_managers_decide_labelers_may_not_and_strangers_learn_nothing(
    kitchen, grace, hedy, as_rita, as_ada, as_grace, as_eve
):
    pair = dispute(kitchen, grace, hedy)

    for address in (PAGE, f"{PAGE}{pair.pk}/", f"{PAGE}{pair.pk}/left/"):
        statuses = [client.get(address).status_code for client in (as_rita, as_ada, as_grace, as_eve)]
        assert statuses == [200, 200, 403, 404]
    said = {"act": "retire", "seen_upto": 2, "seen_last": 0}
    assert [client.post(f"{PAGE}{pair.pk}/", said).status_code for client in (as_grace, as_eve)] == [403, 404]
    assert Adjudication.objects.count() == 0


def test_a_comparison_of_another_project_is_unknown(kitchen, garden, eve, as_rita):
    pair = add_pair(garden)

    assert as_rita.get(f"{PAGE}{pair.pk}/").status_code == 404


def test_the_list_shows_disagreements_then_what_was_passed_on(kitchen, grace, hedy, as_rita):
    dispute(kitchen, grace, hedy, "a disputed <b>question</b>")
    passed_on = add_pair(kitchen, "a question nobody wants")
    Comparison.objects.filter(pk=passed_on.pk).update(state="triage")
    agreed = add_pair(kitchen, "a settled question")
    say(agreed, grace, 2)

    html = as_rita.get(PAGE).content.decode()

    assert "2 comparisons wait for a reviewer." in html
    assert html.index("a disputed &lt;b&gt;question&lt;/b&gt;") < html.index("a question nobody wants")
    assert "a settled question" not in html
    assert "different winners" in html


def test_votes_stand_side_by_side_without_names(kitchen, grace, hedy, as_rita):
    pair = dispute(
        kitchen, grace, hedy, note="B <b>lies</b>", is_hasty=True, a_shown_left=False, reasons=["wrong fact"]
    )
    Skip.objects.create(comparison=pair, labeler=make_member(kitchen, "ida"), reason="cannot_judge")

    html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()

    first, second = html[html.index("Labeler 1") : html.index("Labeler 2")], html[html.index("Labeler 2") :]
    for text in ("A is better", "B &lt;b&gt;lies&lt;/b&gt;", "sooner than it can be read", "saw B left", "wrong fact"):
        assert text in first
    assert "B is much better" in second
    assert "saw A left" in second
    assert "I cannot judge this" in html
    assert not re.search(r"grace|hedy|ida\b", html)


@pytest.mark.parametrize("address", [PAGE, "/projects/kitchen/comparisons/"])
def test_texts_stay_behind_the_warning_until_they_are_asked_for(kitchen, grace, hedy, as_rita, address):
    pair = dispute(kitchen, grace, hedy)
    open_page = as_rita.get(f"{address}{pair.pk}/").content.decode()
    Project.objects.update(content_warning="Knives and fire.")

    html = as_rita.get(f"{address}{pair.pk}/").content.decode()

    veiled = html[html.index('<details class="veiled">') :]
    veiled = veiled[: veiled.index('class="votes"')]
    assert "<span>Knives and fire.</span> <b>Show the pair</b></summary>" in veiled
    assert ('class="conversation"' in veiled, veiled.count('class="completion"')) == (True, 2)
    assert '<details class="veiled">' not in open_page


def test_accepting_settles_it_and_the_next_follows_in_one_trip(kitchen, rita, grace, hedy, as_rita):
    first, second = (dispute(kitchen, grace, hedy, f"question {number}") for number in range(2))

    answer = decide(as_rita, first, act="accept", note="as they say", headers=HTMX)

    html = answer.content.decode()
    assert answer.status_code == 200
    assert answer["HX-Push-Url"] == f"{PAGE}{second.pk}/"
    assert html.lstrip().startswith('<section id="dispute"')
    assert "question 1" in html
    assert f'href="{PAGE}{first.pk}/">Undo' in html
    assert Adjudication.objects.values_list("comparison", "reviewer", "act", "note").get() == (
        first.pk,
        rita.pk,
        "accept",
        "as they say",
    )


def test_without_htmx_the_next_follows_by_way_of_its_page(kitchen, grace, hedy, as_rita):
    first, second = (dispute(kitchen, grace, hedy, f"question {number}") for number in range(2))

    assert decide(as_rita, first, act="retire").url == f"{PAGE}{second.pk}/"
    assert decide(as_rita, second, act="retire").url == PAGE


def test_after_the_last_one_htmx_goes_back_to_the_list(kitchen, grace, hedy, as_rita):
    answer = decide(as_rita, dispute(kitchen, grace, hedy), act="accept", headers=HTMX)

    assert answer["HX-Redirect"] == PAGE


@pytest.mark.parametrize(
    ("scale", "said", "strength", "both_bad"),
    [
        ("quick", {"choice": "left"}, -2, False),
        ("quick", {"choice": "right"}, 2, False),
        ("quick", {"choice": "tie"}, 0, False),
        ("quick", {"choice": "both_bad"}, 0, True),
        ("seven", {"strength": "-3"}, -3, False),
        ("seven", {"strength": "1", "both_bad": "true"}, 1, True),
        ("forced", {"strength": "-4"}, -4, False),
        ("eight", {"strength": "4", "both_bad": "true"}, 4, True),
    ],
)
def test_she_decides_otherwise_on_the_scale_of_the_project(
    kitchen, grace, hedy, as_rita, scale, said, strength, both_bad
):
    Project.objects.update(scale=scale)
    pair = dispute(kitchen, grace, hedy)
    name, value = next(iter(said.items()))
    assert f'name="{name}" value="{value}"' in as_rita.get(f"{PAGE}{pair.pk}/").content.decode()

    decide(as_rita, pair, **said)

    stored = Adjudication.objects.values_list("act", "strength", "scale", "both_bad").get()
    assert stored == ("override", strength, scale, both_bad)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("seven", "A is much better, A is better, A is slightly better, About the same, B is slightly better, "
        "B is better, B is much better"),
        ("forced", "A is significantly better, A is better, A is slightly better, A is negligibly better, or unsure, "
        "B is negligibly better, or unsure, B is slightly better, B is better, B is significantly better"),
        ("eight", "A better, 4 of 4, A better, 3 of 4, A better, 2 of 4, A better, 1 of 4, "
        "B better, 1 of 4, B better, 2 of 4, B better, 3 of 4, B better, 4 of 4"),
    ],
)  # fmt: skip
def test_the_steps_she_decides_in_are_those_of_the_project_in_its_words(kitchen, grace, hedy, as_rita, scale, words):
    Project.objects.update(scale=scale)
    pair = dispute(kitchen, grace, hedy)

    html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()

    steps = re.findall(r'name="strength" value="(-?\d)" data-key="(\d)"><span class="long">([^<]*)<', html)
    assert ", ".join(label for _value, _key, label in steps) == words
    assert [int(key) for _value, key, _label in steps] == list(range(1, len(steps) + 1))
    assert [int(value) for value, _key, _label in steps] == list_strengths(scale)


@pytest.mark.parametrize("said", [{"strength": "0"}, {"strength": "2"}, {"choice": "left"}])
def test_what_she_decided_on_a_page_of_another_scale_is_not_stored(kitchen, grace, hedy, as_rita, said):
    Project.objects.update(scale="quick" if "choice" in said else "seven")
    pair = dispute(kitchen, grace, hedy)
    page = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    Project.objects.update(scale="forced")

    answer = decide(as_rita, pair, page=page, note="kept", **said)

    html = answer.content.decode()
    assert (answer.status_code, "another scale" in html, "kept" in html) == (409, True, True)
    assert "A is significantly better" in html
    assert Adjudication.objects.count() == 0


def test_steps_of_a_page_that_names_no_scale_are_seven(kitchen, grace, hedy, as_rita):
    pair = dispute(kitchen, grace, hedy)
    page = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    Project.objects.update(scale="forced")

    answer = decide(as_rita, pair, page=page, strength="-3", scale="")

    assert (answer.status_code, Adjudication.objects.count()) == (409, 0)


def test_sent_back_it_is_open_again_and_old_votes_are_marked(kitchen, grace, hedy, as_rita):
    pair = dispute(kitchen, grace, hedy)

    decide(as_rita, pair, act="send_back")

    pair.refresh_from_db()
    assert (pair.state, pair.n_judgments) == ("open", 0)
    assert "from before it was sent back" in as_rita.get(f"{PAGE}{pair.pk}/").content.decode()


def test_a_vote_that_came_meanwhile_is_shown_before_anything_is_decided(kitchen, grace, hedy, as_rita):
    pair = dispute(kitchen, grace, hedy)
    page = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    say(pair, make_member(kitchen, "ida"), 1)

    answer = decide(as_rita, pair, page=page, act="accept", note="my long thoughts", headers=HTMX)

    html = answer.content.decode()
    assert answer.status_code == 409
    assert "A vote came while you decided" in html
    assert "Labeler 3" in html
    assert "my long thoughts" in html
    assert Adjudication.objects.count() == 0
    assert decide(as_rita, pair, page=html, act="accept").status_code == 302


def test_two_reviewers_do_not_overwrite_each_other(kitchen, grace, hedy, as_rita, as_ada):
    pair = dispute(kitchen, grace, hedy)
    page = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    decide(as_ada, pair, act="retire")

    answer = decide(as_rita, pair, page=page, act="accept")

    assert answer.status_code == 409
    assert "Another reviewer decided" in answer.content.decode()
    assert Adjudication.objects.values_list("act", flat=True).get() == "retire"


def test_own_work_is_left_to_others_and_what_they_said_stays_hidden(kitchen, rita, grace, as_rita):
    pair = add_pair(kitchen, "my own", overlap=2)
    say(pair, grace, -2, note="what grace wrote")
    say(pair, rita, 3)

    html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    answer = as_rita.post(f"{PAGE}{pair.pk}/", {"act": "accept", "seen_upto": 9, "seen_last": 0})

    assert "Someone else decides this one" in html
    assert "what grace wrote" not in html
    assert "data-decision" not in html
    assert "my own" not in as_rita.get(PAGE).content.decode()
    assert answer.status_code == 409
    assert "leave it to another reviewer" in answer.content.decode()
    assert Adjudication.objects.count() == 0


def test_a_decision_is_undone_by_deciding_again(kitchen, grace, hedy, as_rita):
    pair = dispute(kitchen, grace, hedy)
    decide(as_rita, pair, act="retire", note="hopeless")

    html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    assert "A new decision replaces the old one" in html
    assert "hopeless" in html
    decide(as_rita, pair, page=html, act="accept")

    assert list(Adjudication.objects.order_by("id").values_list("act", flat=True)) == ["retire", "accept"]
    pair.refresh_from_db()
    assert pair.state == "settled"


@pytest.mark.parametrize("said", [{}, {"act": "override"}, {"act": "accept", "choice": "left"}, {"strength": "4"}])
def test_a_form_that_says_nothing_or_two_things_is_refused(kitchen, grace, hedy, as_rita, said):
    pair = dispute(kitchen, grace, hedy)

    answer = decide(as_rita, pair, note="kept", **said)

    assert answer.status_code == 422
    assert "kept" in answer.content.decode()
    assert Adjudication.objects.count() == 0


def test_leaving_one_for_now_leads_to_the_one_behind_it(kitchen, grace, hedy, as_rita):
    pairs = [dispute(kitchen, grace, hedy, f"question {number}") for number in range(3)]

    for pair, following in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
        assert f'data-key="k" href="{PAGE}{following.pk}/"' in html


def test_a_long_text_is_to_be_had_whole(kitchen, as_rita):
    pair = add_pair(kitchen, text_b="x" * 300_000)

    html = as_rita.get(f"{PAGE}{pair.pk}/").content.decode()
    whole = as_rita.get(f"{PAGE}{pair.pk}/right/")

    assert f'href="{PAGE}{pair.pk}/right/"' in html
    assert (whole["Content-Type"], whole.content) == ("text/plain; charset=utf-8", b"x" * 300_000)


def test_only_managers_are_offered_to_make_it_gold(kitchen, grace, hedy, as_rita, as_ada):
    pair = dispute(kitchen, grace, hedy)

    offers = ["Make it gold" in client.get(f"{PAGE}{pair.pk}/").content.decode() for client in (as_rita, as_ada)]

    assert offers == [False, True]


def test_pages_take_as_many_queries_for_three_as_for_one(kitchen, grace, hedy, as_rita, django_assert_max_num_queries):
    counts = []
    for number in range(3):
        pair = dispute(kitchen, grace, hedy, f"question {number}")
        retired = dispute(kitchen, grace, hedy, f"retired {number}")
        decide(as_rita, retired, act="retire")
        say(pair, make_member(kitchen, f"labeler-{number}"), 0)
        with django_assert_max_num_queries(40) as queries:
            as_rita.get(PAGE)
            as_rita.get(f"{PAGE}{pair.pk}/")
        counts.append(len(queries))

    assert counts[0] == counts[2]


def test_an_empty_queue_says_when_something_appears(kitchen, as_rita):
    add_pairs(kitchen, 2)

    assert "Nothing to review" in as_rita.get(PAGE).content.decode()
