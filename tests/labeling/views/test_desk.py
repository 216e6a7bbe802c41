import pytest

from labeling.domain.desk import DEFAULT_KEYS, Desk, read_desk, save_desk
from labeling.domain.skipping import decline_slice
from labeling.forms.desk import DeskForm, fill_desk
from labeling.models import AuditEvent, Membership, Slice

pytestmark = pytest.mark.django_db


def send(client, **changes):
    """Send the form of a desk nobody set up, with changes; an empty check box is not sent."""
    fields = fill_desk(Desk()) | changes
    return client.post("/desk/", {name: value for name, value in fields.items() if value is not False})


def test_the_page_shows_her_desk(grace, as_grace):
    save_desk(grace, Desk(keys=DEFAULT_KEYS | {"left": "a"}, font_size=21))

    html = as_grace.get("/desk/").content.decode()

    assert '<option value="21" selected>21</option>' in html
    assert 'name="key_left" value="a"' in html
    assert 'name="key_tie" value="space"' in html
    assert 'href="/desk/"' in html  # the menu of every page leads here


def test_a_desk_is_saved_whole(grace, as_grace):
    answer = send(
        as_grace,
        font_size="21",
        width="full",
        layout="stacked",
        render="raw",
        sync_scroll="on",
        shows_timer="on",
        language="de",
        key_left="A",
        key_tie="Enter",
        key_save=" ",
    )

    grace.refresh_from_db()
    assert (answer.status_code, answer.url) == (302, "/desk/")
    assert read_desk(grace) == Desk(
        keys=DEFAULT_KEYS | {"left": "a", "tie": "enter", "save": "space"},
        font_size=21,
        width="full",
        layout="stacked",
        render="raw",
        sync_scroll=True,
        shows_timer=True,
        language="de",
    )


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        (
            {"key_left": "j"},
            {
                "key_left": ["“A is better” and “B is better” cannot both have the key “j”."],
                "key_right": ["“A is better” and “B is better” cannot both have the key “j”."],
            },
        ),
        ({"key_undo": ""}, {"key_undo": ["Give it a key."]}),
        ({"key_undo": "tab"}, {"key_undo": ["Type one character, or space or enter: others are the browser's."]}),
        ({"key_undo": "uu"}, {"key_undo": ["Type one character, or space or enter: others are the browser's."]}),
    ],
)
def test_keys_that_cannot_be_are_explained_at_their_fields(grace, as_grace, changes, errors):
    answer = send(as_grace, **changes)

    assert answer.status_code == 422
    assert answer.context["form"].errors == errors
    grace.refresh_from_db()
    assert grace.desk == {}


@pytest.mark.parametrize("changes", [{"font_size": "13"}, {"width": "huge"}, {"language": "xx"}, {"render": ""}])
def test_options_that_are_none_are_refused(grace, as_grace, changes):
    assert send(as_grace, **changes).status_code == 422


def test_every_option_of_a_desk_has_its_field():
    assert set(DeskForm().fields) == set(fill_desk(Desk()))


def test_back_to_the_defaults_keeps_the_language(grace, as_grace):
    save_desk(grace, Desk(keys=DEFAULT_KEYS | {"left": "a"}, font_size=21, language="de"))

    as_grace.post("/desk/reset/")

    grace.refresh_from_db()
    assert read_desk(grace) == Desk(language="de")


def test_a_declined_slice_is_shown_again_on_request(kitchen, grace, as_grace):
    Slice.objects.create(project=kitchen, name="violence")
    decline_slice(kitchen, grace, "violence")
    html = as_grace.get("/desk/").content.decode()

    as_grace.post("/desk/kitchen/slices/", {"name": "violence"})

    assert "Not shown to you in Kitchen" in html
    assert "Show me “violence” again" in html
    assert Membership.objects.get(user=grace).declined == []
    assert "Not shown to you" not in as_grace.get("/desk/").content.decode()
    assert AuditEvent.objects.filter(verb="member.decline", actor=grace).count() == 2


def test_a_get_changes_nothing_and_strangers_have_no_desk(grace, as_grace, as_eve, client, kitchen):
    assert as_grace.get("/desk/reset/").status_code == 405
    assert as_grace.get("/desk/kitchen/slices/").status_code == 405
    assert as_eve.post("/desk/kitchen/slices/", {"name": "x"}).status_code == 404
    assert client.get("/desk/").url == "/accounts/login/?next=/desk/"
