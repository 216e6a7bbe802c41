from __future__ import annotations

import re
import time
from dataclasses import fields
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from labeling.domain import quality_report
from labeling.domain.gold import make_gold
from labeling.domain.intervals import Figure
from labeling.domain.people import quarantine_member
from labeling.domain.quality import LabelerQuality
from labeling.domain.quality_report import SCHEMA, Report, load_report
from labeling.domain.weeks import Week
from labeling.models import Adjudication, Judgment, Membership
from labeling.views.figures import explain, name_week
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pairs
from tests.labeling.votes import say

pytestmark = pytest.mark.django_db

PAGE = "/projects/kitchen/quality/"


@pytest.fixture(autouse=True)
def no_report_of_other_tests(db):
    cache.clear()


@pytest.fixture
def as_rita(kitchen):
    return log_in(make_member(kitchen, "rita", role="reviewer"))


@pytest.fixture
def crowd(kitchen):
    return [make_member(kitchen, name) for name in ("ida", "joan", "katie")]


@pytest.fixture
def judged(kitchen, crowd):
    """Twelve comparisons over three weeks; katie agrees with nobody."""
    now = timezone.now()
    pairs = add_pairs(kitchen, 12)
    for number, pair in enumerate(pairs):
        for labeler, strength in zip(crowd, (2, 3, -2) if number % 2 else (-1, -2, 3), strict=True):
            say(pair, labeler, strength, submitted_at=now - timedelta(days=2 * number))
    return pairs


def read(client, address=PAGE):
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_quality_is_for_reviewers_and_managers(kitchen, as_rita, as_ada, as_grace, as_eve):
    assert [client.get(PAGE).status_code for client in (as_rita, as_ada, as_grace, as_eve)] == [200, 200, 403, 404]


def test_the_page_tells_agreement_with_its_meaning_and_what_others_reach(judged, as_ada):
    html = read(as_ada)

    # Of the three pairs of labelers of each comparison, one agrees.
    assert '<p class="large number">33%</p>' in html
    assert "Little more than tossing a coin would" in html
    assert "72.6 ± 1.5%" in html
    assert "77.3 ± 1.3%" in html
    assert "measured on 36 judgments" in html
    assert html.count('class="chart"') == 5
    assert html.count('class="unsure"') == html.count("of too few to be sure") >= 6  # weeks of fewer than ten


def test_what_cannot_be_known_says_why(kitchen, as_ada):
    html = read(as_ada)

    assert "Nobody has judged here yet." in html
    assert 'class="large number"' not in html


def test_each_labeler_has_a_row_with_figures_and_her_standing(kitchen, ada, crowd, judged, as_ada):
    quarantine_member(Membership.objects.get(user=crowd[2]), ada, reason="copies")
    gold = add_pairs(kitchen, 13)[12]
    make_gold(gold, ada, strength_min=1, strength_max=3)
    say(gold, crowd[0], 2, reason="gold")

    html = read(as_ada)

    rows = html[html.index('id="labelers"') :].split("<tr")
    ida, katie = (next(row for row in rows if f">{name}</bdi></a>" in row) for name in ("ida", "katie"))
    assert '<td class="number">12</td>' in ida
    assert "100%" in ida
    assert "in quarantine" in katie
    assert "in quarantine" not in ida
    assert ('value="quarantine"' in ida, 'value="quarantine"' in katie) == (True, False)
    assert 'value="reinstate"' in katie


def test_reviewers_see_the_figures_and_may_not_act(judged, as_rita):
    html = read(as_rita)

    assert ">ida</bdi></a>" in html
    assert "/standing/" not in html


def test_a_name_is_text_and_nothing_else(kitchen, judged, as_ada):
    labeler = make_member(kitchen, "<b>mallory</b>")
    say(judged[0], labeler, 2)

    html = read(as_ada)

    assert "<b>mallory</b>" not in html
    assert "&lt;b&gt;mallory&lt;/b&gt;" in html


def test_a_report_is_kept_for_a_minute_and_while_nothing_changes(kitchen, grace, judged, monkeypatch):
    first = load_report(kitchen)
    assert load_report(kitchen).at == first.at
    say(judged[0], grace, 2)
    assert load_report(kitchen).at == first.at

    monkeypatch.setattr(quality_report, "FRESH", timedelta(0))

    second = load_report(kitchen)
    assert (first.whole.n_votes, second.whole.n_votes) == (36, 37)
    assert load_report(kitchen).at == second.at


def test_votes_of_labelers_in_quarantine_are_left_out_and_counted(kitchen, ada, crowd, judged, as_ada):
    quarantine_member(Membership.objects.get(user=crowd[2]), ada, reason="copies")

    html = read(as_ada)

    # Of the others, two, both name the same winner.
    assert '<p class="large number">100%</p>' in html
    assert "measured on 24 judgments" in html
    assert "Left out: 12 judgments of labelers in quarantine." in html


def test_votes_before_a_send_back_are_told_and_agreement_counts_them(kitchen, ada, judged, as_ada):
    upto = Judgment.objects.latest("pk").pk
    Adjudication.objects.create(comparison=judged[0], reviewer=ada, act="send_back", upto=upto)

    html = read(as_ada)

    assert "measured on 36 judgments" in html
    assert "3 judgments are from before their comparisons were sent back. Agreement counts them" in html


def test_a_report_kept_by_another_release_is_not_read(kitchen, judged):
    for number in range(SCHEMA):
        cache.set(f"quality:{number}:{kitchen.pk}:en", "what an older release kept")
    cache.set(f"quality:{kitchen.pk}:en", "what the first release kept")

    assert load_report(kitchen).whole.n_votes == 36


def test_another_field_of_the_report_asks_for_another_schema_number():
    names = [" ".join(field.name for field in fields(kind)) for kind in (Report, LabelerQuality, Week)]

    assert (SCHEMA, names) == (
        4,
        [
            "seen at whole n_quarantined n_sent_back n_contested slices weeks pairs labelers decay",
            "labeler is_active is_quarantined n n_right gold consistency left left_z longer longer_z ties hasty median_s"
            " n_pastes agreement reliability flags",
            "start n n_ties n_slight n_left n_gold n_right n_bad",
        ],
    )


def test_a_standing_is_shown_as_it_is_now_whatever_was_measured(kitchen, ada, crowd, judged, as_ada):
    read(as_ada)
    quarantine_member(Membership.objects.get(user=crowd[2]), ada, reason="copies")

    assert "in quarantine" in read(as_ada)


@pytest.mark.django_db(transaction=True)
def test_much_is_measured_beside_the_request_and_shown_once_it_is_there(kitchen, judged, as_ada, monkeypatch):
    monkeypatch.setattr(quality_report, "AT_ONCE", 3)

    assert "the figures are here in a few seconds" in read(as_ada)

    for _ in range(600):
        if cache.get(f"quality:{SCHEMA}:{kitchen.pk}:en"):
            break
        time.sleep(0.1)
    assert "measured on 36 judgments" in read(as_ada)


def test_while_someone_measures_nobody_else_does(kitchen, judged, monkeypatch):
    monkeypatch.setattr(quality_report, "AT_ONCE", 3)
    cache.add(f"quality:{SCHEMA}:{kitchen.pk}:en:measuring", True)
    started = []
    monkeypatch.setattr(quality_report.threading, "Thread", lambda **facts: started.append(facts))

    assert load_report(kitchen) is None
    assert started == []


def test_the_page_takes_as_many_queries_for_three_labelers_as_for_one(
    kitchen, crowd, as_ada, django_assert_max_num_queries
):
    counts = []
    for n in (1, 3):
        for pair in add_pairs(kitchen, 6):
            for labeler in crowd[:n]:
                if not pair.judgments.filter(labeler=labeler).exists():
                    say(pair, labeler, 2)
        cache.clear()
        with django_assert_max_num_queries(60) as queries:
            read(as_ada)
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("signs", 0.73, "As much as trained labelers"),
        ("signs", 0.7, "Less than trained labelers"),
        ("signs", 0.5, "Little more than tossing"),
        ("ordinal", 0.8, "Reliable"),
        ("ordinal", 0.7, "Enough for careful"),
        ("fleiss", 0.3, "Usual for preferences"),
        ("fleiss", 0.1, "Barely above chance"),
        ("ordinal", -0.1, "No better than chance"),
    ],
)
def test_a_figure_says_what_it_means(key, value, words):
    assert explain(Figure(key=key, name=key, n=40, value=value)).startswith(words)


def test_a_week_is_named_by_its_monday():
    assert (name_week("2026-11-02"), name_week("some other part")) == ("2 Nov", "some other part")


CEILING = "/projects/kitchen/quality/ceiling/"


def test_beside_a_models_accuracy_stands_how_often_people_agree(kitchen, as_ada, as_grace, grace, hedy):
    for number, pair in enumerate(add_pairs(kitchen, 12, overlap=2)):
        say(pair, grace, 2)
        say(pair, hedy, -2 if number < 3 else 2)

    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", as_ada.get(CEILING).content.decode()))

    assert "name the same winner in 75% of what both judged, comparisons: 12. The true share lies between" in text
    assert "No model can agree with people more than they agree with each other. Quality" in text
    assert as_grace.get(CEILING).status_code == 403  # a labeler is told of her own figures only


def test_where_nobody_can_tell_how_often_people_agree_it_says_so(kitchen, as_ada, grace):
    say(add_pairs(kitchen, 1)[0], grace, 2)

    assert "is unknown, so nothing says" in as_ada.get(CEILING).content.decode()


def test_while_agreement_is_measured_the_link_to_it_stays(kitchen, judged, as_ada, monkeypatch):
    monkeypatch.setattr(quality_report, "AT_ONCE", 3)
    cache.add(f"quality:{SCHEMA}:{kitchen.pk}:en:measuring", True)

    assert as_ada.get(CEILING).status_code == 204
