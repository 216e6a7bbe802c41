"""A manager makes a project, writes its guideline, finds and changes data: without JavaScript, and for every eye."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from labeling.domain.bulk import Change, change_rows
from labeling.domain.invitations import invite
from labeling.domain.people import add_member
from labeling.domain.projects import publish_guideline
from labeling.domain.saved_views import save_view
from labeling.models import Comparison, Membership, Project, Prompt, Slice, User
from tests.browser.test_judge import list_faults
from tests.labeling.domain.hostile import PAYLOADS
from tests.labeling.rows import add_pair, add_pairs
from tests.labeling.votes import say

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HOME = "/projects/kitchen/"


@pytest.fixture
def ada(kitchen: Project) -> User:
    user = User.objects.create_user("ada")
    add_member(kitchen, user, role="manager")
    return user


def test_a_project_is_made_and_its_guideline_published_without_javascript(ada, open_page):
    page = open_page(ada, "/projects/", java_script_enabled=False)

    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name").fill("Bakery")
    page.get_by_label("Address").fill("bakery")
    page.get_by_label("Judgments wanted").fill("0")
    page.get_by_role("button", name="Make the project").click()
    assert "Nothing is stored yet" in page.inner_text("main")
    page.get_by_label("Judgments wanted").fill("3")
    page.get_by_role("button", name="Make the project").click()
    page.get_by_role("link", name="Write the guideline").click()
    page.get_by_label("Text").fill("Choose the **crisper** loaf.")
    page.get_by_role("button", name="Publish").click()

    project = Project.objects.get(slug="bakery")
    assert (project.overlap, project.guidelines.get().text) == (3, "Choose the **crisper** loaf.")
    assert page.locator(".prose strong").inner_text() == "crisper"


def test_rows_are_found_ticked_and_changed_without_javascript(kitchen, ada, open_page):
    pairs = add_pairs(kitchen, 3)
    page = open_page(ada, f"{HOME}comparisons/", java_script_enabled=False)

    page.get_by_label("Words").fill("question 1")
    page.get_by_role("button", name="Search").click()
    assert page.locator("tbody tr").count() == 1
    page.get_by_label(f"Comparison {pairs[1].pk}", exact=True).check()
    page.get_by_label("What to do", exact=True).select_option("priority")
    page.get_by_label("Priority").fill("7")
    page.get_by_role("button", name="Change").click()
    assert "1 row was changed." in page.inner_text("main")

    page.goto(f"{HOME}comparisons/")
    page.get_by_label("What to do", exact=True).select_option("retire")
    page.get_by_label("To", exact=True).select_option("all")
    page.get_by_role("button", name="Change").click()
    assert "Retire: 3 rows?" in page.inner_text("h1")
    page.get_by_role("button", name="Change them").click()

    assert list(Comparison.objects.order_by("id").values_list("priority", "state")) == [
        (0, "retired"),
        (7, "retired"),
        (0, "retired"),
    ]


def test_a_view_is_kept_and_comes_back(kitchen, ada, open_page):
    add_pairs(kitchen, 2)
    page = open_page(ada, f"{HOME}comparisons/?text=question+1", java_script_enabled=False)

    page.get_by_text("Keep this view").click()
    page.get_by_label("Name").fill("Ones")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="Ones").click()
    assert (page.locator("tbody tr").count(), page.get_by_label("Words").input_value()) == (1, "question 1")
    page.get_by_role("button", name="Delete the view Ones").click()

    assert page.get_by_role("link", name="Ones").count() == 0


def test_someone_invited_chooses_a_password_and_is_in(kitchen, ada, open_page):
    page = open_page(ada, f"{HOME}members/")

    page.locator("#invite-username").fill("joan")
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    page.context.clear_cookies()
    page.goto(link)
    page.get_by_label("Password", exact=True).fill("a horse and a battery")
    page.get_by_label("The same again").fill("a horse and a battery")
    page.get_by_role("button", name="Make the account").click()

    assert page.url.endswith(HOME)
    assert Membership.objects.get(user__username="joan").role == "labeler"
    assert page.goto(link).status == 410
    assert page.evaluate("window.violations") == []


def test_a_value_is_asked_for_only_where_the_act_has_one(kitchen, ada, open_page):
    add_pairs(kitchen, 1)
    page = open_page(ada, f"{HOME}comparisons/")

    shown = {}
    for act in ("retire", "overlap", "priority", "slice"):
        page.get_by_label("What to do", exact=True).select_option(act)
        shown[act] = [name for name in ("overlap", "priority", "slice") if page.locator(f"#bulk-{name}").is_visible()]

    assert shown == {"retire": [], "overlap": ["overlap"], "priority": ["priority"], "slice": ["slice"]}


@pytest.fixture
def addresses(kitchen: Project, ada: User, grace: User) -> list[str]:
    """Every page of managing with something on it."""
    publish_guideline(kitchen, "Choose the **much better** one.", is_breaking=True)
    pairs = add_pairs(kitchen, 3)
    code = Slice.objects.create(project=kitchen, name="code", language="en")
    Prompt.objects.filter(pk=pairs[0].prompt_id).update(slice=code)
    say(pairs[0], grace, 2, note="because", both_bad=True, axes={"helpful": 1}, reasons=["too long"])
    change_rows(kitchen, "comparisons", [pair.pk for pair in pairs], Change(act="priority", value=2), actor=ada)
    invite(kitchen, ada, username="joan", role="reviewer")
    save_view(kitchen, ada, page="comparisons", name="Mine", query="state=open", is_shared=True)
    pages = ["", "edit/", "edit/overlap/", "guidelines/", "guidelines/1/", "guidelines/2/since/1/", "members/",
             f"members/{grace.pk}/", "comparisons/?text=question", f"comparisons/{pairs[0].pk}/", "prompts/",
             f"prompts/{pairs[0].prompt_id}/", "completions/", "judgments/", "audit/", "comparisons/?number=x"]  # fmt: skip
    return ["/projects/", "/projects/new/", *(f"{HOME}{page}" for page in pages)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_and_reach_everything(ada, addresses, open_page, scheme):
    page = open_page(ada, "/projects/", color_scheme=scheme)

    faults = []
    for address in addresses:
        page.goto(address)
        open_all(page)
        faults += [f"{address}: {fault}" for fault in list_faults(page)]

    assert faults == []


def test_no_page_scrolls_sideways(ada, addresses, open_page):
    page = open_page(ada, "/projects/")

    wide = []
    for address in addresses:
        page.goto(address)
        open_all(page)
        for width in (390, 768, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 900})
            if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
                wide.append(f"{address} at {width}")

    assert wide == []


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")


def test_hostile_texts_act_on_nothing(kitchen, ada, grace, open_page):
    attack = "\n\n".join(PAYLOADS[:-1]).replace("alert(1)", "(window.pwned=1)")[:9_000]
    pair = add_pair(kitchen, attack, text_a=attack, text_b=f"b {attack}")
    say(pair, grace, -2, note=attack, reasons=[attack[:200]])
    publish_guideline(kitchen, attack)
    page = open_page(ada, "/projects/")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url}"))

    for address in ("comparisons/", f"comparisons/{pair.pk}/", "prompts/", f"prompts/{pair.prompt_id}/", "completions/",
                    "judgments/", "guidelines/", "guidelines/2/since/1/", "audit/"):  # fmt: skip
        page.goto(f"{HOME}{address}")
        page.wait_for_timeout(200)

    served = page.url.split("/projects/")[0]
    assert [request for request in requests if not request.startswith(f"GET {served}/")] == []
    assert page.evaluate("[window.pwned, window.violations]") == [None, []]
