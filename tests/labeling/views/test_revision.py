"""A vote reopened: what she said is in sight, unless it is past changing."""

import re

import pytest

from labeling.domain.revising import seal_judgments
from labeling.models import Judgment, Project
from tests.labeling.rows import add_pair, add_pairs, claim, judge
from tests.labeling.views.test_judge import HTMX, PAGE, read_hidden

pytestmark = pytest.mark.django_db


def test_everything_she_said_is_there_again(kitchen, grace, as_grace):
    Project.objects.update(scale="seven", axes=["Helpful"], reasons=["Clearer", "Shorter"], asks_fixes=True)
    kitchen.refresh_from_db()
    add_pair(kitchen)
    judgment = judge(
        claim(kitchen, grace),
        grace,
        preference=2,
        scale="seven",
        axes={"Helpful": -1},
        reasons=["Shorter"],
        note="hm",
        fix="Better <b>",
        unsafe_left=True,
    )

    html = as_grace.get(f"{PAGE}judgments/{judgment.pk}/").content.decode()

    said = [
        'name="preference" value="2" required data-key="6" checked',
        'name="axis_0" value="-1" checked',
        'value="Shorter" data-key="shift+2" checked',
        ">hm</textarea>",
        ">Better &lt;b&gt;</textarea>",
        'name="unsafe_left" value="true" data-key="q" checked',
    ]
    assert [words for words in said if words not in html] == []


def test_a_vote_in_a_dataset_is_shown_and_cannot_be_changed(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    judgment = judge(claim(kitchen, grace), grace)
    address = f"{PAGE}judgments/{judgment.pk}/"
    fields = read_hidden(as_grace.get(address).content.decode())
    seal_judgments(kitchen, judgment.pk)

    page = as_grace.get(address).content.decode()
    undo = as_grace.post(f"{PAGE}undo/", headers=HTMX).content.decode()
    answer = as_grace.post(address, fields | {"choice": "tie"}, headers=HTMX)

    assert "This vote went into a dataset and cannot be changed any more." in page
    assert 'class="vote"' not in page
    assert "This vote went into a dataset" in undo
    assert (answer.status_code, Judgment.objects.count()) == (409, 1)


def test_the_whole_text_of_a_judged_pair_is_its_labelers(kitchen, grace, as_grace, as_hedy):
    add_pair(kitchen, text_a="one \u202e", text_b="two")
    judgment = judge(claim(kitchen, grace), grace)
    address = f"{PAGE}judgments/{judgment.pk}/{'left' if judgment.a_shown_left else 'right'}/"

    assert as_grace.get(address).content.decode() == "one \u202e"
    assert as_grace.get(f"{PAGE}judgments/{judgment.pk}/nothing/").status_code == 404
    assert as_hedy.get(address).status_code == 404


def test_a_refused_change_comes_back_with_all_she_wrote(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    judgment = judge(claim(kitchen, grace), grace)
    address = f"{PAGE}judgments/{judgment.pk}/"
    fields = read_hidden(as_grace.get(address).content.decode())

    answer = as_grace.post(address, fields | {"choice": "tie", "note": "y" * 10_001}, headers=HTMX)

    html = answer.content.decode()
    assert (answer.status_code, Judgment.objects.count()) == (422, 1)
    assert re.findall(r'name="choice" value="(\w+)"[^>]*aria-pressed="true"', html) == ["tie"]
    assert "y" * 10_001 + "</textarea>" in html
