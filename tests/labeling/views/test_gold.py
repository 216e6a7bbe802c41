from __future__ import annotations

import pytest

from labeling.domain.gold import make_gold
from labeling.models import Gold
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGE = "/projects/kitchen/gold/"


@pytest.fixture
def as_rita(kitchen):
    return log_in(make_member(kitchen, "rita", role="reviewer"))


def read(client, address=PAGE):
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_gold_is_for_the_managers_of_the_project(kitchen, ada, as_ada, as_rita, as_grace, as_eve):
    gold = make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3)
    withdraw = f"{PAGE}{gold.pk}/withdraw/"

    for client, status in ((as_rita, 403), (as_grace, 403), (as_eve, 404)):
        assert client.get(PAGE).status_code == status
        assert client.post(PAGE, {"comparison": gold.comparison_id, "answer": "a"}).status_code == status
        assert client.post(withdraw).status_code == status
    assert Gold.objects.values_list("strength_min", "is_active").get() == (1, True)


def test_an_item_is_listed_with_its_answer_in_words_and_how_it_fares(kitchen, ada, grace, hedy, as_ada):
    pair = add_pair(kitchen, "Boil or <b>fry</b>?")
    make_gold(pair, ada, strength_min=1, strength_max=3, explanation="B <i>answers</i>.", is_exam=True)
    say(pair, grace, 2, reason="exam")
    say(pair, hedy, -2, reason="exam")

    html = read(as_ada)

    for text in (
        "Boil or &lt;b&gt;fry&lt;/b&gt;?",
        "B is better, by however much",
        "B &lt;i&gt;answers&lt;/i&gt;.",
        "50%",
    ):
        assert text in html
    assert '<td class="number" data-label="Answered by">2</td>' in html
    assert '<span class="badge">exam</span>' in html
    assert "check this item" not in html


def test_an_item_most_miss_is_marked(kitchen, ada, as_ada):
    pair = add_pair(kitchen)
    make_gold(pair, ada, strength_min=1, strength_max=3)
    for number in range(3):
        say(pair, make_member(kitchen, f"labeler-{number}"), -2, reason="gold")

    assert "check this item" in read(as_ada)


def test_a_form_makes_gold(kitchen, as_ada):
    pair = add_pair(kitchen)

    answer = as_ada.post(
        PAGE, {"comparison": pair.pk, "answer": "a_or_tie", "explanation": "A knows.", "is_exam": "on"}, follow=True
    )

    assert answer.redirect_chain == [(PAGE, 302)]
    assert f"Comparison {pair.pk} is gold: A is better, or about the same." in answer.content.decode()
    assert Gold.objects.values_list("comparison", "strength_min", "strength_max", "explanation", "is_exam").get() == (
        pair.pk,
        -3,
        0,
        "A knows.",
        True,
    )


def test_the_same_form_again_says_anew_what_is_right(kitchen, ada, as_ada):
    pair = add_pair(kitchen)
    make_gold(pair, ada, strength_min=1, strength_max=3)

    as_ada.post(PAGE, {"comparison": pair.pk, "answer": "tie"})

    assert Gold.objects.values_list("strength_min", "strength_max").get() == (0, 0)


def test_a_form_without_an_answer_is_refused_and_kept(kitchen, as_ada):
    pair = add_pair(kitchen)

    answer = as_ada.post(PAGE, {"comparison": pair.pk, "answer": "", "explanation": "Because."})

    assert answer.status_code == 422
    assert "Because." in answer.content.decode()
    assert Gold.objects.count() == 0


def test_text_no_database_keeps_is_refused(kitchen, as_ada):
    pair = add_pair(kitchen)

    answer = as_ada.post(PAGE, {"comparison": pair.pk, "answer": "a", "explanation": "nothing: \x00"})

    assert (answer.status_code, Gold.objects.count()) == (422, 0)


def test_a_comparison_of_another_project_is_unknown(kitchen, garden, as_ada):
    pair = add_pair(garden)

    assert as_ada.post(PAGE, {"comparison": pair.pk, "answer": "a"}).status_code == 404
    assert Gold.objects.count() == 0


def test_withdrawn_gold_leaves_the_list(kitchen, ada, as_ada):
    gold = make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3)

    answer = as_ada.post(f"{PAGE}{gold.pk}/withdraw/", follow=True)

    html = answer.content.decode()
    assert answer.redirect_chain == [(PAGE, 302)]
    assert f"Comparison {gold.comparison_id} is slipped in no more." in html
    assert "No gold yet" in html
    assert Gold.objects.values_list("is_active", flat=True).get() is False


def test_a_get_withdraws_nothing(kitchen, ada, as_ada):
    gold = make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3)

    assert as_ada.get(f"{PAGE}{gold.pk}/withdraw/").status_code == 405
    assert Gold.objects.get().is_active


def test_what_everyone_clearly_says_is_offered_with_its_answer_chosen(kitchen, as_ada):
    pair = add_pair(kitchen, "unanimous")
    for number in range(3):
        say(pair, make_member(kitchen, f"labeler-{number}"), 3)

    html = read(as_ada)

    assert "Could become gold" in html
    assert '<option value="b" selected>B is better, by however much</option>' in html


def test_long_lists_come_in_pages(kitchen, ada, as_ada):
    pairs = add_pairs(kitchen, 52)
    for pair in pairs:
        make_gold(pair, ada, strength_min=1, strength_max=3)

    first = read(as_ada)
    oldest_shown = Gold.objects.order_by("-id")[49].pk
    second = read(as_ada, f"{PAGE}?before={oldest_shown}")

    assert f'href="?before={oldest_shown}"' in first
    assert [f"question {number}<" in first for number in (51, 2, 1, 0)] == [True, True, False, False]
    assert [f"question {number}<" in second for number in (2, 1, 0)] == [False, True, True]
    assert "?before=" not in second


def test_the_page_takes_as_many_queries_for_three_items_as_for_one(
    kitchen, ada, grace, as_ada, django_assert_max_num_queries
):
    counts = []
    for pair in add_pairs(kitchen, 3):
        make_gold(pair, ada, strength_min=1, strength_max=3)
        say(pair, grace, 2, reason="gold")
        with django_assert_max_num_queries(20) as queries:
            read(as_ada)
        counts.append(len(queries))

    assert counts[0] == counts[2]
