from collections import Counter

import pytest

from labeling.models import AuditEvent
from rlhf.domain.feedback.constitutions import (
    STARTER,
    InvalidConstitution,
    draw_principles,
    find_newest,
    list_newest,
    write_constitution,
)

pytestmark = pytest.mark.django_db


def principle(name: str, **changes) -> dict:
    return {"id": name, "critique": "Say why.", "revision": "Mend it.", "comparison": "Choose.", **changes}


def test_a_changed_constitution_is_a_new_version_and_the_old_one_stays(project, manager):
    first = write_constitution(project, STARTER, user=manager)
    second = write_constitution(project, [principle("kind")], note="Only one.", user=manager)

    first.refresh_from_db()
    assert (first.version, second.version, len(first.principles)) == (1, 2, len(STARTER))
    assert find_newest(project) == second
    assert AuditEvent.objects.filter(verb="constitution.write", actor=manager).count() == 2


def test_the_same_principles_again_are_the_version_there_is(project):
    first = write_constitution(project, STARTER)

    assert write_constitution(project, STARTER) == first


@pytest.mark.parametrize(
    ("principles", "message"),
    [
        ([], "from 1 to 200 principles, got 0"),
        (["be kind"], "principle 1 must be an object"),
        ([principle("kind", extra=1)], "principle 1 must be an object with .*: extra"),
        ([principle("kind", critique=" ")], "principle 1 needs a text for critique"),
        ([principle("kind"), principle("kind")], "kind comes twice"),
        ([principle("kind", weight=0)], "principle 1: weight must be over 0"),
        ([principle("kind\ud800")], "principle 1: id holds half a surrogate pair"),
        ([principle("kind", revision="x\0")], "principle 1: revision holds a NUL character"),
        ([principle("kind", tags=["\udfff"])], "principle 1: a tag holds half a surrogate pair"),
        ([principle("kind", **{"\ud800": 1})], r"principle 1 must be an object with .*: \\ud800"),
        ([principle("kind", tags="a")], "principle 1: tags must be a list of texts"),
    ],
)
def test_what_cannot_be_asked_is_refused(project, principles, message):
    with pytest.raises(InvalidConstitution, match=message):
        write_constitution(project, principles)


@pytest.mark.parametrize("note", ["\0", "\ud800"])
def test_a_note_that_cannot_be_kept_is_refused(project, note):
    with pytest.raises(InvalidConstitution, match="note holds"):
        write_constitution(project, STARTER, note=note)


def test_the_newest_of_each_project_are_found_in_one_query(project, other_project, django_assert_num_queries):
    write_constitution(project, STARTER)
    newest = write_constitution(project, [principle("kind")])
    theirs = write_constitution(other_project, STARTER)

    with django_assert_num_queries(1):
        assert list_newest([project, other_project]) == {project.pk: newest, other_project.pk: theirs}


def test_principles_are_drawn_by_weight_and_the_same_for_a_row_every_time(project):
    constitution = write_constitution(project, [principle("often", weight=9), principle("seldom", weight=1)])

    drawn = [draw_principles(constitution, 1, seed=1, pk=pk)[0]["id"] for pk in range(2000)]

    assert drawn == [draw_principles(constitution, 1, seed=1, pk=pk)[0]["id"] for pk in range(2000)]
    assert 1740 < Counter(drawn)["often"] < 1860


def test_no_principle_is_drawn_twice_while_there_are_others(project):
    constitution = write_constitution(project, STARTER)

    for pk in range(50):
        drawn = [item["id"] for item in draw_principles(constitution, len(STARTER), seed=1, pk=pk)]
        assert sorted(drawn) == sorted(item["id"] for item in STARTER)
