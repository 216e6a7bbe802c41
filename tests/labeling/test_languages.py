from collections.abc import Iterator

import pytest
from django.utils import translation

from labeling.domain.desk import Desk, save_desk
from labeling.languages import choose_language
from labeling.models import User
from tests.labeling.conftest import log_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english_after_all() -> Iterator[None]:
    """A request leaves its language behind in its thread, for the next one says its own; the next test may not."""
    yield
    translation.deactivate()


GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


def read_language(client, address="/projects/", **headers):
    html = client.get(address, headers=headers).content.decode()
    return html[html.index("<html") :].split('"')[1]


def test_the_browser_says_which_language(as_grace):
    assert read_language(as_grace) == "en"
    assert read_language(as_grace, **GERMAN) == "de"
    assert read_language(as_grace, **{"Accept-Language": "fr"}) == "en"


def test_her_own_choice_goes_before_cookie_and_browser(grace, as_grace):
    save_desk(grace, Desk(language="en"))
    as_grace.cookies["django_language"] = "de"

    assert read_language(as_grace, **GERMAN) == "en"


def test_one_users_choice_is_not_the_next_ones(grace, as_grace, as_hedy, client):
    save_desk(grace, Desk(language="de"))

    languages = [
        read_language(as_grace),
        read_language(as_hedy),
        read_language(client, "/accounts/login/"),
        read_language(as_grace),
    ]

    assert languages == ["de", "en", "en", "de"]


def test_who_is_not_logged_in_chooses_by_a_cookie(client):
    answer = client.post("/i18n/setlang/", {"language": "de", "next": "/accounts/login/"})

    assert answer.url == "/accounts/login/"
    assert answer.cookies["django_language"]["httponly"]
    html = client.get("/accounts/login/").content.decode()
    assert "Anmelden" in html
    assert 'value="de" lang="de" aria-current="true">Deutsch</button>' in html
    assert client.get("/i18n/setlang/").status_code == 302  # a GET changes nothing
    assert read_language(client, "/accounts/login/") == "de"


def test_another_house_is_never_the_next_page(client):
    assert client.post("/i18n/setlang/", {"language": "de", "next": "https://evil.example/"}).url == "/"


def test_pages_where_models_learn_are_in_english(kitchen, ada):
    save_desk(ada, Desk(language="de"))
    client = log_in(ada)

    languages = {
        address: read_language(client, address, **GERMAN) for address in ("/", "/runs/", "/datasets/", "/desk/")
    }

    assert languages == {"/": "de", "/runs/": "en", "/datasets/": "en", "/desk/": "de"}


@pytest.mark.parametrize("desk", [{}, "nonsense", {"language": "xx"}, {"language": None}, {"language": ["de"]}])
def test_a_language_nobody_speaks_is_the_browsers(desk):
    assert choose_language(User(desk=desk)) == ""


def test_dates_and_numbers_are_said_in_german(kitchen, grace, as_grace):
    answer = as_grace.get("/judge/kitchen/history/", headers=GERMAN)

    html = answer.content.decode()
    assert answer["Content-Language"] == "de"
    assert "Mo</text>" in html
    assert "Ihr Verlauf" in html
