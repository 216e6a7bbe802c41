"""What a labeler may say on each scale, and what it is worth beside what others said on another."""

from __future__ import annotations

import uuid

import pytest
from django.urls import reverse

from labeling.domain.errors import InvalidJudgment
from labeling.domain.gold import is_right, make_gold, right_answers
from labeling.domain.judging import show_vote
from labeling.domain.quality import measure_agreement
from labeling.domain.votes import is_same
from labeling.forms.scales import STEPS, name_strength
from labeling.models import Comparison, Gold, Judgment, Project, Slot
from labeling.models.scales import MARGINS, Scale, center, list_strengths, to_seven
from tests.labeling.rows import add_pair, add_pairs, claim, judge, revise
from tests.labeling.votes import say

pytestmark = [pytest.mark.django_db, pytest.mark.database]

FORCED = ("forced", "eight")


@pytest.mark.parametrize("scale", Scale.values)
def test_every_strength_of_a_scale_has_a_word_a_short_name_a_meaning_and_a_margin(scale):
    strengths = list_strengths(scale)

    assert [step.value for step in STEPS[scale]] == strengths
    assert (
        len({str(step.label) for step in STEPS[scale]}) == len({step.short for step in STEPS[scale]}) == len(strengths)
    )
    assert all(step.meaning for step in STEPS[scale])
    assert [value for value in strengths if not 0 <= MARGINS[scale][abs(value)] <= 1] == []
    assert [to_seven(value, scale) * value > 0 for value in strengths if value] == [True] * len(
        [v for v in strengths if v]
    )
    assert max(abs(to_seven(value, scale)) for value in strengths) == 3


def test_the_forced_scales_have_four_steps_a_side_and_no_tie():
    assert list_strengths("forced") == list_strengths("eight") == [-4, -3, -2, -1, 1, 2, 3, 4]
    assert list_strengths("seven") == list_strengths("quick") == [-3, -2, -1, 0, 1, 2, 3]
    assert [name_strength(value, "forced") for value in (-4, -1, 2)] == [
        "A is significantly better",
        "A is negligibly better, or unsure",
        "B is slightly better",
    ]
    assert name_strength(3, "eight") == "B better, 3 of 4"


def test_the_steps_of_a_forced_scale_lie_one_apart_across_the_middle_too():
    assert [center(value, "eight") for value in (-4, -1, 1, 4)] == [-3.5, -0.5, 0.5, 3.5]
    assert is_same(center(-1, "forced"), center(1, "forced"))
    assert not is_same(center(-1, "forced"), center(2, "forced"))


@pytest.mark.parametrize("scale", FORCED)
@pytest.mark.parametrize("a_left", [True, False])
def test_a_forced_vote_is_kept_as_it_was_said_of_the_contents(kitchen, grace, scale, a_left):
    add_pair(kitchen)
    Slot.objects.update(a_shown_left=a_left)

    judgment = judge(claim(kitchen, grace), grace, 4, scale=scale)
    changed = revise(judgment, grace, -1, scale=scale)

    assert list(Judgment.objects.order_by("id").values_list("verdict", "strength", "scale")) == [
        ("B" if a_left else "A", 4 if a_left else -4, scale),
        ("A" if a_left else "B", -1 if a_left else 1, scale),
    ]
    assert show_vote(changed).preference == -1


@pytest.mark.parametrize("scale", FORCED)
@pytest.mark.parametrize("preference", [0, 5, -5, True, 1.0])
def test_a_tie_or_what_is_no_step_is_refused_on_a_forced_scale(kitchen, grace, scale, preference):
    add_pair(kitchen)

    with pytest.raises(InvalidJudgment, match="from -4 to 4, and not 0: there is no tie"):
        judge(claim(kitchen, grace), grace, preference, scale=scale)

    assert Judgment.objects.count() == 0


def test_what_a_forced_scale_can_say_seven_steps_cannot(kitchen, grace):
    add_pair(kitchen)

    with pytest.raises(InvalidJudgment, match="from -3 to 3, got 4"):
        judge(claim(kitchen, grace), grace, 4, scale="seven")


@pytest.mark.parametrize("scale", FORCED)
def test_the_page_of_a_forced_project_has_eight_steps_with_their_keys_and_no_way_to_another_scale(
    kitchen, as_grace, grace, scale
):
    Project.objects.update(scale=scale, reasons=["Clearer"])
    add_pair(kitchen)
    claim(kitchen, grace)
    session = as_grace.session
    session[f"scale:{kitchen.pk}"] = "quick"
    session.save()

    text = as_grace.get("/judge/kitchen/").content.decode()
    refused = as_grace.post("/judge/kitchen/scale/", {"scale": "seven"})

    keys = [
        f'name="preference" value="{value}" required data-key="{key}"'
        for key, value in enumerate([-4, -3, -2, -1, 1, 2, 3, 4], 1)
    ]
    assert [key for key in keys if key not in text] == []
    assert text.count('name="preference"') == 8
    assert 'data-key="shift+1"' in text
    assert "Judge with one key" not in text
    assert "Judge in seven steps" not in text
    assert refused.status_code == 422


def test_a_plain_form_saves_the_eighth_step_and_is_told_to_choose_where_it_chose_none(kitchen, as_grace, grace):
    Project.objects.update(scale="forced")
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    form = {
        "slot": slot.pk,
        "lease_token": slot.lease_token,
        "idempotency_key": uuid.uuid4(),
        "shown_at": slot.shown_at.isoformat(),
        "scale": "forced",
    }
    address = reverse("labeling:judgment-create", args=["kitchen"])

    told = [as_grace.post(address, form | changes) for changes in ({}, {"preference": "0"}, {"preference": "-5"})]
    saved = as_grace.post(address, form | {"preference": "4"})

    assert [answer.status_code for answer in told] == [422] * 3
    assert "Choose one of the steps before you save." in told[1].content.decode()
    assert saved.status_code == 302
    judgment = Judgment.objects.get()
    assert (abs(judgment.strength), judgment.scale) == (4, "forced")


def test_a_program_votes_on_the_scale_of_the_project(kitchen, as_grace, grace):
    Project.objects.update(scale="eight")
    add_pairs(kitchen, 2)
    assert [row["scale"] for row in as_grace.get("/api/v1/projects/").json()] == ["eight"]
    slot = claim(kitchen, grace)
    vote = {
        "slot": slot.pk,
        "lease_token": str(slot.lease_token),
        "idempotency_key": str(uuid.uuid4()),
        "scale": "eight",
    }
    address = "/api/v1/judgments/"

    refused = as_grace.post(address, vote | {"preference": 0}, content_type="application/json")
    stored = as_grace.post(address, vote | {"preference": -4}, content_type="application/json")

    assert (refused.status_code, stored.status_code) == (400, 201)
    assert {name: stored.json()[name] for name in ("preference", "scale")} == {"preference": -4, "scale": "eight"}


def test_history_review_and_the_comparisons_page_say_it_in_the_words_of_its_scale(
    kitchen, ada, as_ada, as_grace, grace, hedy
):
    Project.objects.update(scale="forced")
    pair = add_pair(kitchen, overlap=2)
    say(pair, grace, -1, scale="forced")
    say(pair, hedy, 4, scale="forced")

    history = as_grace.get("/judge/kitchen/history/").content.decode()
    review = as_ada.get(f"/projects/kitchen/review/{pair.pk}/").content.decode()
    dossier = as_ada.get(f"/projects/kitchen/comparisons/{pair.pk}/").content.decode()
    listed = as_ada.get("/projects/kitchen/judgments/").content.decode()

    assert "A is negligibly better, or unsure" in history
    for text in (review, dossier, listed):
        assert "A is negligibly better, or unsure" in text
        assert "B is significantly better" in text


@pytest.mark.parametrize("scale", Scale.values)
@pytest.mark.parametrize("right", [(-3, -1), (-3, -2), (-3, 0), (0, 0), (-1, 1), (0, 3), (1, 3), (2, 2)])
def test_gold_is_right_alike_in_python_and_in_the_database(kitchen, ada, grace, scale, right):
    pairs = [add_pair(kitchen, f"q{value}") for value in list_strengths(scale)]
    for pair, value in zip(pairs, list_strengths(scale), strict=True):
        make_gold(pair, ada, strength_min=right[0], strength_max=right[1])
        say(pair, grace, value, scale=scale, reason="gold")

    said = set(Judgment.objects.filter(right_answers()).values_list("strength", flat=True))

    gold = Gold(strength_min=right[0], strength_max=right[1])
    assert said == {value for value in list_strengths(scale) if is_right(gold, value, scale=scale)}


@pytest.mark.parametrize(
    ("right", "strengths"),
    [
        ((-3, -1), {-4, -3, -2, -1}),
        ((-3, -2), {-4, -3}),
        ((0, 0), {-1, 1}),
        ((-1, 1), {-2, -1, 1, 2}),
        ((-3, 0), {-4, -3, -2, -1, 1}),
    ],
)
def test_who_has_to_choose_says_about_the_same_by_the_innermost_steps(right, strengths):
    gold = Gold(strength_min=right[0], strength_max=right[1])

    assert {value for value in list_strengths("forced") if is_right(gold, value, scale="forced")} == strengths


def test_agreement_tells_the_eight_steps_apart_and_reads_mixed_ones_as_seven(kitchen, grace, hedy):
    pairs = add_pairs(kitchen, 4, overlap=2)
    for pair, (mine, hers) in zip(pairs, [(-4, -4), (4, 3), (1, 2), (-1, -1)], strict=True):
        say(pair, grace, mine, scale="forced")
        say(pair, hedy, hers, scale="forced")

    def read(key):
        (whole,) = measure_agreement(kitchen)
        return next(figure.value for figure in whole.figures if figure.key == key)

    assert (read("exact"), read("signs")) == (0.5, 1.0)
    say(pairs[0], hedy, -3, scale="seven", revises=Judgment.objects.get(comparison=pairs[0], labeler=hedy))
    # Much better is what significantly better is; and slightly and negligibly are one step of seven.
    assert (read("exact"), read("signs")) == (0.75, 1.0)


def test_a_project_on_a_forced_scale_disagrees_where_winners_differ(kitchen, grace, hedy):
    pair = add_pair(kitchen, overlap=2)
    say(pair, grace, -1, scale="eight")
    say(pair, hedy, 1, scale="eight")

    assert Comparison.objects.values_list("n_judgments", "spread", "is_split").get() == (2, 2, True)
