import re

import pytest

from labeling.domain.gold import make_gold
from labeling.domain.skipping import skip_comparison
from labeling.models import Judgment, Membership, Project, Skip
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise

pytestmark = pytest.mark.django_db

PAGE = "/judge/kitchen/history/"


def read_entries(html):
    """Return the rows of the page as they are written, without white space between tags."""
    return [re.sub(r">\s+<", "><", row) for row in re.findall(r'<li class="entry">.*?</li>', html, flags=re.S)]


def skip(project, labeler):
    slot = claim(project, labeler)
    return skip_comparison(slot.pk, labeler, lease_token=slot.lease_token, reason="unsafe")


def test_a_row_says_what_she_said_in_the_words_of_the_page(kitchen, grace, as_grace):
    Project.objects.update(reasons=["clear"])
    kitchen.refresh_from_db()
    add_pair(kitchen, "Boil or fry?")
    judgment = judge(claim(kitchen, grace), grace, preference=-3, scale="seven", reasons=["clear"], active_ms=4200)

    (row,) = read_entries(as_grace.get(PAGE).content.decode())

    assert "Boil or fry?" in row
    assert "<b>A is much better</b>" in row
    assert "<span>4 s</span>" in row
    assert '<span class="badge">clear</span>' in row
    assert f'href="/judge/kitchen/judgments/{judgment.pk}/"' in row
    assert "changed" not in row


def test_a_changed_judgment_is_marked_and_both_bad_is_said(kitchen, grace, as_grace):
    add_pair(kitchen)
    first = judge(claim(kitchen, grace), grace)
    changed = revise(first, grace, 0, both_bad=True)

    (row,) = read_entries(as_grace.get(PAGE).content.decode())

    assert "<b>Both bad</b>" in row
    assert ">changed<" in row
    assert f"judgments/{changed.pk}/" in row


def test_what_went_into_a_dataset_cannot_be_changed(kitchen, grace, as_grace):
    add_pair(kitchen)
    judgment = judge(claim(kitchen, grace), grace)
    Project.objects.update(frozen_upto=judgment.pk)

    (row,) = read_entries(as_grace.get(PAGE).content.decode())

    assert "in a dataset" in row
    assert "/judgments/" not in row


def normalize(row):
    """Return a row without its number and its time, which every row has."""
    return re.sub(r"\d+", "#", re.sub(r"<time.*?</time>", "<time/>", row))


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_probe_looks_like_every_other_row(kitchen, ada, grace, as_grace, is_frozen):
    add_pair(kitchen, "the same")
    ordinary = judge(claim(kitchen, grace), grace)
    gold = add_pair(kitchen, "the same ")
    make_gold(gold, ada, strength_min=-3, strength_max=3 - 4, explanation="because of the salt")
    Project.objects.update(gold_share=0.5)
    kitchen.refresh_from_db()
    probe = judge(claim_probe(kitchen, grace), grace)
    exam = add_pair(kitchen, "the same  ")
    make_gold(exam, ada, strength_min=1, strength_max=3, is_exam=True)
    Project.objects.update(gold_share=0, exam_size=1)
    kitchen.refresh_from_db()
    examined = judge(claim(kitchen, grace), grace)
    Project.objects.update(frozen_upto=examined.pk if is_frozen else 0)

    html = as_grace.get(PAGE).content.decode()

    assert [judgment.reason for judgment in (ordinary, probe, examined)] == ["random", "gold", "exam"]
    rows = [normalize(row) for row in read_entries(html)]
    assert len(rows) == 3
    assert len(set(rows)) == 1
    assert not any(word in html for word in ("gold", "salt", "repeat", "probe"))


def claim_probe(project, labeler):
    """Claim until a probe comes: half of the claims are, and there is no other work."""
    from labeling.domain.assignment import claim_slot  # noqa: PLC0415 -- beside its one use

    return next(filter(None, (claim_slot(project, labeler) for _ in range(200))))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("kind", "n_queries"), [("judged", 11), ("skipped", 11)])
def test_the_page_costs_the_same_for_one_and_three(
    kitchen, grace, as_grace, django_assert_num_queries, n, kind, n_queries
):
    add_pairs(kitchen, 2 * n)
    for _ in range(n):
        judge(claim(kitchen, grace), grace)
        skip(kitchen, grace)

    with django_assert_num_queries(n_queries):
        answer = as_grace.get(PAGE, {"kind": kind})

    assert len(answer.context["rows"]) == n


def test_a_search_shows_where_the_words_stand_and_keeps_what_was_asked(kitchen, grace, as_grace):
    add_pair(kitchen, "Boil <b>or</b> fry?")
    judge(claim(kitchen, grace), grace)

    html = as_grace.get(PAGE, {"text": "<b>OR", "verdict": "left", "day": "no day"}).content.decode()

    assert "Boil <mark>&lt;b&gt;or</mark>&lt;/b&gt; fry?" in re.sub(r"…", "", html)
    assert 'value="&lt;b&gt;OR"' in html
    assert '<option value="left" selected>' in html
    assert 'href="?kind=skipped&amp;text=%3Cb%3EOR&amp;verdict=left"' in html


def test_older_rows_are_a_link_away(kitchen, grace, as_grace, monkeypatch):
    monkeypatch.setattr("labeling.domain.history.PAGE_ROWS", 2)
    add_pairs(kitchen, 3)
    judged = [judge(claim(kitchen, grace), grace) for _ in range(3)]

    first = as_grace.get(PAGE, {"verdict": "left"}).content.decode()
    older = re.search(r'href="([^"]+)" rel="next"', first).group(1).replace("&amp;", "&")
    second = as_grace.get(PAGE + older).content.decode()

    assert older == f"?verdict=left&before={judged[1].pk}"
    assert (len(read_entries(first)), len(read_entries(second))) == (2, 1)
    assert 'href="?verdict=left"' in second
    assert 'rel="next"' not in second


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=99999999999999999999", "kind=x", "verdict=x&reason=y"]
)
def test_a_query_nobody_would_write_is_no_error(kitchen, grace, as_grace, query):
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)

    assert len(as_grace.get(f"{PAGE}?{query}").context["rows"]) == 1


def test_a_skip_is_listed_with_its_reason_and_taken_back(kitchen, grace, as_grace):
    add_pair(kitchen, "Boil or fry?")
    passed = skip(kitchen, grace)

    (row,) = read_entries(as_grace.get(PAGE, {"kind": "skipped"}).content.decode())
    undo = f"{PAGE}skips/{passed.pk}/undo/"
    answers = [as_grace.post(undo, follow=True) for _ in range(2)]

    assert "I would rather not read this" in row
    assert f'action="{undo}"' in row
    assert "The pair may come to you again" in answers[0].content.decode()
    assert "taken back already" in answers[1].content.decode()
    assert answers[0].redirect_chain == [(f"{PAGE}?kind=skipped", 302)]
    assert Skip.objects.count() == 0


def test_nobody_takes_back_someone_elses_skip(kitchen, grace, as_hedy, as_eve):
    add_pair(kitchen)
    passed = skip(kitchen, grace)

    as_hedy.post(f"{PAGE}skips/{passed.pk}/undo/")
    stranger = as_eve.post(f"{PAGE}skips/{passed.pk}/undo/")

    assert stranger.status_code == 404
    assert Skip.objects.get() == passed
    assert as_hedy.get(f"{PAGE}skips/{passed.pk}/undo/").status_code == 405


def test_strangers_find_nothing_and_the_suspended_are_told(kitchen, grace, as_grace, as_eve):
    Membership.objects.filter(user=grace).update(is_active=False)

    assert as_eve.get(PAGE).status_code == 404
    assert as_grace.get(PAGE).status_code == 403


def test_hostile_texts_stay_texts(kitchen, grace, as_grace):
    for number, payload in enumerate(PAYLOADS):
        add_pair(kitchen, f"{number} {payload}")
        judge(claim(kitchen, grace), grace, note=payload)

    texts = [as_grace.get(PAGE, {"text": text}).content.decode() for text in ("", "<", "script", "onerror")]

    rows = "".join(row for html in texts for row in read_entries(html))
    tags = set(re.findall(r"<(\w+)", rows))
    assert tags <= {"li", "p", "b", "time", "span", "aside", "a", "bdi", "mark"}
    assert Judgment.objects.count() == len(PAYLOADS)


def test_prompts_stay_behind_the_warning(kitchen, grace, as_grace):
    add_pair(kitchen, "sharp knives")
    judge(claim(kitchen, grace), grace)
    Project.objects.update(content_warning="Knives & fire.")

    (row,) = read_entries(as_grace.get(PAGE).content.decode())

    inside = row[row.index("<details") : row.index("</details>")]
    assert inside.startswith('<details class="veil"><summary>Knives &amp; fire.</summary>')
    assert (inside.count("sharp knives"), row.count("sharp knives")) == (1, 1)
