import pytest

from labeling.domain.projects import publish_guideline
from labeling.models import AuditEvent, Guideline, Slot
from tests.labeling.rows import add_pair, claim, judge

pytestmark = pytest.mark.django_db

GUIDELINES = "/projects/kitchen/guidelines/"


def list_versions():
    return list(Guideline.objects.order_by("version").values_list("version", "text", "is_breaking"))


def test_a_manager_publishes_a_version_and_the_trail_knows(kitchen, ada, as_ada):
    as_ada.post(GUIDELINES, {"text": "one\r\ntwo", "seen": "0"})
    answer = as_ada.post(GUIDELINES, {"text": "three", "seen": "1", "is_breaking": "on"})

    assert (answer.url, list_versions()) == (GUIDELINES, [(1, "one\ntwo", False), (2, "three", True)])
    event = AuditEvent.objects.filter(verb="guideline.publish").latest("id")
    assert (event.subject, event.actor, event.before) == ("guideline v2", ada, {"version": 1})
    assert event.after == {"version": 2, "is_breaking": True, "n_chars": 5}


def test_the_same_text_is_no_new_version(kitchen, as_ada):
    for _ in range(2):
        html = as_ada.post(GUIDELINES, {"text": "one"}, follow=True).content.decode()

    assert list_versions() == [(1, "one", False)]
    assert "nothing was published" in html


@pytest.mark.parametrize("said", [{"text": ""}, {"text": " \n"}, {"text": "a\x00b"}, {"text": "x", "requeues": "on"}])
def test_a_guideline_that_cannot_be_is_refused_and_kept_on_the_page(kitchen, as_ada, said):
    answer = as_ada.post(GUIDELINES, said)

    assert (answer.status_code, list_versions()) == (422, [])
    assert answer.context["form"].errors


def test_whoever_writes_from_an_old_version_is_told_and_may_publish_then(kitchen, as_ada):
    publish_guideline(kitchen, "one")
    publish_guideline(kitchen, "two")

    answer = as_ada.post(GUIDELINES, {"text": "mine", "seen": "1"})

    assert (answer.status_code, len(list_versions())) == (409, 2)
    html = answer.content.decode()
    assert "Version 2 was published while you wrote from version 1" in html
    assert 'name="seen" value="2"' in html
    assert ">\nmine</textarea>" in html


def test_a_breaking_version_queues_anew_when_asked_to(kitchen, grace, as_ada):
    publish_guideline(kitchen, "one")
    add_pair(kitchen)
    judge(claim(kitchen, grace), grace)

    as_ada.post(GUIDELINES, {"text": "two", "is_breaking": "on"})
    assert Slot.objects.count() == 1
    as_ada.post(f"{GUIDELINES}2/requeue/")
    as_ada.post(GUIDELINES, {"text": "three", "is_breaking": "on", "requeues": "on"})

    assert list(Slot.objects.order_by("number").values_list("state", flat=True)) == ["done", "free"]


def test_labelers_read_every_version_and_what_changed(kitchen, as_grace):
    publish_guideline(kitchen, "Be kind and short.\nAlways.")
    publish_guideline(kitchen, "Be kind and **thorough**.\nAlways.")

    pages = [as_grace.get(GUIDELINES), as_grace.get(f"{GUIDELINES}1/"), as_grace.get(f"{GUIDELINES}2/since/1/")]
    listed, first, compared = (page.content.decode() for page in pages)

    assert ("<strong>thorough</strong>" in listed, "Publish" in listed) == (True, False)
    assert "Be kind and short." in first
    assert ("<del>" in compared, "<ins>" in compared, "thorough" in compared) == (True, True, True)


def test_long_versions_stand_side_by_side(kitchen, as_grace):
    publish_guideline(kitchen, "a " * 20_000)
    publish_guideline(kitchen, "b " * 20_000)

    assert as_grace.get(f"{GUIDELINES}2/since/1/").status_code == 200


def test_a_version_that_is_not_there_is_not_found(kitchen, garden, as_grace):
    publish_guideline(garden, "one")

    addresses = ("1/", "1/since/1/", "99999999999999999999/")
    assert [as_grace.get(f"{GUIDELINES}{address}").status_code for address in addresses] == [404, 404, 404]


def test_hostile_guidelines_stay_text(kitchen, as_grace):
    publish_guideline(kitchen, "<script>alert(1)</script>")
    publish_guideline(kitchen, "<img src=x onerror=alert(1)>")

    for address in ("", "1/", "2/since/1/"):
        html = as_grace.get(f"{GUIDELINES}{address}").content.decode()
        assert ("<script>alert" in html, "<img src=x" in html) == (False, False)
