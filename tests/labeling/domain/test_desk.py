import pytest

from labeling.domain.desk import ACTIONS, DEFAULT_KEYS, Desk, InvalidDesk, find_key_faults, read_desk, save_desk
from labeling.models import User


def test_the_houses_own_keys_get_along():
    assert find_key_faults(DEFAULT_KEYS) == []


def test_a_desk_nobody_set_up_is_the_houses():
    assert read_desk(User()) == Desk()


@pytest.mark.django_db
def test_a_saved_desk_is_read_back_whole(grace):
    desk = Desk(
        keys=DEFAULT_KEYS | {"left": "a", "right": "ö"},
        font_size=21,
        width="full",
        layout="stacked",
        render="raw",
        sync_scroll=True,
        shows_timer=True,
        asks_reasons=True,
    )

    save_desk(grace, desk)

    grace.refresh_from_db()
    assert read_desk(grace) == desk
    assert grace.desk["keys"] == {"left": "a", "right": "ö"}


@pytest.mark.parametrize(
    ("stored", "desk"),
    [
        ("nonsense", Desk()),
        ({"keys": "x", "font_size": "big", "width": 3, "layout": None, "other": 1}, Desk()),
        ({"keys": {"left": "escape", "right": "m", "nobody": "z"}}, Desk(keys=DEFAULT_KEYS | {"right": "m"})),
        ({"keys": {"left": "j"}, "width": "full"}, Desk(keys=DEFAULT_KEYS | {"left": "j", "right": "f"}, width="full")),
        ({"keys": {"left": "j", "tie": "j"}, "width": "full"}, Desk(width="full")),
        ({"keys": {"undo": "8"}}, Desk(keys=DEFAULT_KEYS | {"undo": "8", "step_8": "u"})),
        ({"font_size": 99, "render": "raw", "shows_timer": 1}, Desk(render="raw")),
    ],
)
def test_what_cannot_be_read_is_as_the_house_has_it(stored, desk):
    assert read_desk(User(desk=stored)) == desk


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"left": "j"}, "“A is better” and “B is better” cannot both have the key “j”."),
        ({"undo": "1"}, "“A is much better” and “Undo: open the last one again” cannot both have the key “1”."),
        ({"left": "escape"}, "“escape” cannot be the key of “A is better”."),
        ({"left": ""}, "“” cannot be the key of “A is better”."),
        ({"left": "F"}, "“F” cannot be the key of “A is better”."),
        ({"dance": "y"}, "There is no action “dance”."),
    ],
)
def test_keys_that_cannot_be_are_refused(grace, changes, fault):
    with pytest.raises(InvalidDesk) as refused:
        save_desk(grace, Desk(keys=DEFAULT_KEYS | changes))

    assert refused.value.faults == [fault]
    grace.refresh_from_db()
    assert grace.desk == {}


def test_scales_that_are_never_on_one_page_may_share_a_key():
    assert find_key_faults(DEFAULT_KEYS | {"left": "1", "right": "2"}) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options", [{"font_size": 13}, {"font_size": True}, {"width": "huge"}, {"layout": []}, {"sync_scroll": 1}]
)
def test_options_that_are_none_are_refused(grace, options):
    with pytest.raises(InvalidDesk):
        save_desk(grace, Desk(**options))


def test_every_action_has_a_name_of_its_own():
    assert len({action.name for action in ACTIONS}) == len(ACTIONS)
