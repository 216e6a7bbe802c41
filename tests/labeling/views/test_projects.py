import pytest

from labeling.domain.projects import publish_guideline
from labeling.models import AuditEvent, Comparison, Guideline, Membership, Project, Slot, User
from tests.labeling.conftest import log_in, make_member
from tests.labeling.rows import add_pair, add_pairs

pytestmark = pytest.mark.django_db

SETTINGS = {
    "name": "Bakery", "description": "", "scale": "seven", "asks_flags": "on", "axes": "helpful\n\n harmless ",
    "reasons": "wrong fact\r\ntoo long", "content_warning": "", "overlap": "2", "overlap_share": "100",
    "overlap_max": "0", "spread_limit": "3", "triage_after": "3", "strategy": "priority", "random_share": "10",
    "gold_share": "5", "repeat_share": "3", "repeat_after_h": "24", "exam_size": "0", "exam_pass_share": "75",
    "lease_s": "900", "daily_cap": "0", "labeler_cap": "0", "break_after_min": "50",
}  # fmt: skip
NEW = SETTINGS | {"slug": "bakery", "guideline": "Be kind."}
EDIT = "/projects/kitchen/edit/"


def read_trail(verb):
    return [
        (row.subject, row.actor and str(row.actor), row.before, row.after)
        for row in AuditEvent.objects.filter(verb=verb)
    ]


def test_a_manager_makes_a_project(ada, as_ada):
    answer = as_ada.post("/projects/new/", NEW)

    assert answer.url == "/projects/bakery/"
    project = Project.objects.get(slug="bakery")
    assert (project.scale, project.overlap, project.axes) == ("seven", 2, ["helpful", "harmless"])
    assert (project.reasons, project.gold_share) == (["wrong fact", "too long"], 0.05)
    assert Membership.objects.values_list("user", "role").get(project=project) == (ada.pk, "manager")
    assert project.guidelines.values_list("version", "text").get() == (1, "Be kind.")
    assert list(AuditEvent.objects.filter(project=project).order_by("id").values_list("verb", "actor")) == [
        ("project.create", ada.pk),
        ("member.add", ada.pk),
        ("guideline.publish", ada.pk),
    ]


def test_a_new_project_is_offered_with_sane_settings(as_ada):
    form = as_ada.get("/projects/new/").context["form"]

    offered = {
        "scale": "seven",
        "overlap": 1,
        "gold_share": "5",
        "random_share": "10",
        "lease_s": 900,
        "asks_flags": True,
    }
    assert {name: form[name].value() for name in offered} == offered


def test_a_labeler_makes_none(as_grace):
    assert as_grace.get("/projects/new/").status_code == 403
    assert as_grace.post("/projects/new/", NEW).status_code == 403
    assert not Project.objects.filter(slug="bakery").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"slug": "kitchen"},
        {"slug": "a b"},
        {"slug": "new"},
        {"name": ""},
        {"name": "a\x00b"},
        {"overlap": "0"},
        {"overlap": "101"},
        {"overlap_max": "1"},
        {"random_share": "9"},
        {"gold_share": "51"},
        {"gold_share": "nan"},
        {"spread_limit": "7"},
        {"lease_s": "0"},
        {"axes": "\n".join(f"axis {n}" for n in range(9))},
        {"reasons": "x" * 61},
        {"guideline": "half \x00"},
    ],
)
def test_a_project_that_cannot_be_is_refused_at_the_field(as_ada, changes):
    answer = as_ada.post("/projects/new/", NEW | changes)

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == list(changes)
    assert 'class="errorlist"' in answer.content.decode()


def test_labelers_see_their_own_numbers_and_managers_all(kitchen, as_grace, as_ada):
    add_pairs(kitchen, 3)

    mine, all_of_them = (client.get("/projects/kitchen/").content.decode() for client in (as_grace, as_ada))

    assert ("Your work" in mine, "All labelers" in mine, "Settings" in mine) == (True, False, False)
    assert ("Your work" in all_of_them, "All labelers" in all_of_them, "Settings" in all_of_them) == (False, True, True)


def test_the_overview_asks_as_much_for_three_as_for_one(kitchen, ada, as_ada, django_assert_max_num_queries):
    counts = []
    for number in range(3):
        add_pair(kitchen, f"question {number}")
        make_member(kitchen, f"labeler-{number}")
        publish_guideline(kitchen, f"text {number}")
        with django_assert_max_num_queries(40) as queries:
            as_ada.get("/projects/kitchen/")
            as_ada.get("/projects/kitchen/guidelines/")
        counts.append(len(queries))

    assert counts[2] <= counts[0]


def test_a_guideline_is_rendered_safe(kitchen, as_grace):
    publish_guideline(kitchen, "Be **kind**. <script>alert(1)</script>")

    html = as_grace.get("/projects/kitchen/").content.decode()

    assert "Be <strong>kind</strong>. &lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_an_edit_stores_what_changed_and_nothing_else(kitchen, as_ada):
    page = as_ada.get(EDIT)
    said = {name: page.context["form"][name].value() for name in page.context["form"].fields}
    assert said["name"] == "Kitchen"
    answer = as_ada.post(EDIT, SETTINGS | {"name": "Kitchen", "seen": page.context["seen"], "gold_share": "12.5"})

    kitchen.refresh_from_db()
    assert (answer.status_code, kitchen.gold_share, kitchen.overlap) == (302, 0.125, 2)
    assert read_trail("project.edit") == [
        (
            "Kitchen",
            "ada",
            {"scale": "quick", "overlap": 1, "axes": [], "reasons": [], "gold_share": 0.05},
            {
                "scale": "seven", "overlap": 2, "axes": ["helpful", "harmless"],
                "reasons": ["wrong fact", "too long"], "gold_share": 0.125,
            },
        )
    ]  # fmt: skip


def test_settings_stored_as_they_are_are_no_change(kitchen, as_ada):
    for _ in range(2):
        as_ada.post(EDIT, SETTINGS)

    assert len(read_trail("project.edit")) == 1


def test_settings_that_someone_else_changed_meanwhile_are_not_overwritten(kitchen, as_ada):
    seen = as_ada.get(EDIT).context["seen"]
    Project.objects.update(description="Pots and pans")

    answer = as_ada.post(EDIT, SETTINGS | {"seen": seen, "description": ""})

    assert (answer.status_code, Project.objects.get(pk=kitchen.pk).description) == (409, "Pots and pans")
    assert "Someone else changed" in answer.content.decode()
    assert as_ada.post(EDIT, SETTINGS | {"seen": answer.context["seen"]}).status_code == 302


def test_a_bad_setting_is_refused_and_stores_nothing(kitchen, as_ada):
    answer = as_ada.post(EDIT, SETTINGS | {"overlap": "0"})

    assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["overlap"])
    assert Project.objects.values_list("name", "overlap").get(pk=kitchen.pk) == ("Kitchen", 1)


def test_an_exam_without_questions_is_pointed_out(kitchen, as_ada):
    html = as_ada.post(EDIT, SETTINGS | {"overlap": "1", "exam_size": "5"}, follow=True).content.decode()

    assert "The exam asks for 5 questions and there are 0" in html


def test_a_new_overlap_may_hold_for_what_is_there_too(kitchen, as_ada):
    add_pairs(kitchen, 3)
    add_pair(kitchen, "kept out", overlap=0)

    answer = as_ada.post(EDIT, SETTINGS)
    page = as_ada.get(answer.url).content.decode()

    assert answer.url == "/projects/kitchen/edit/overlap/"
    assert "It would add 3 slots and remove 0 free ones." in page
    assert as_ada.post(answer.url, {"overlap": "3"}).url == answer.url
    assert Slot.objects.count() == 3
    assert as_ada.post(answer.url, {"overlap": "2"}).url == EDIT
    assert (Slot.objects.count(), Comparison.objects.filter(overlap=2).count()) == (6, 3)


def test_many_comparisons_get_their_overlap_trip_by_trip(kitchen, as_ada, monkeypatch):
    add_pairs(kitchen, 5)
    as_ada.post(EDIT, SETTINGS)
    monkeypatch.setattr("labeling.domain.bulk.CHUNK", 2)
    monkeypatch.setattr("labeling.domain.bulk.BUDGET_S", 0.0)

    said, n_trips = {"overlap": "2"}, 0
    while True:
        answer = as_ada.post(f"{EDIT}overlap/", said)
        n_trips += 1
        if answer.status_code == 302:
            break
        said |= {"after": str(answer.context["after"]), "n_changed": str(answer.context["n"])}

    assert (n_trips, Slot.objects.count()) == (3, 10)
    assert "5 comparisons have the new overlap." in as_ada.get(EDIT).content.decode()


def test_a_project_is_closed_and_opened_again(kitchen, as_ada):
    for act in ("archive", "archive", "reopen", "nonsense"):
        as_ada.post(f"{EDIT}state/", {"act": act})

    assert not Project.objects.get(pk=kitchen.pk).is_archived
    assert [read_trail(verb) for verb in ("project.archive", "project.reopen")] == [
        [("Kitchen", "ada", {"is_archived": False}, {"is_archived": True})],
        [("Kitchen", "ada", {"is_archived": True}, {"is_archived": False})],
    ]


def test_only_superusers_join_by_themselves(kitchen, as_grace):
    root = User.objects.create_superuser("root")

    assert as_grace.post("/projects/kitchen/memberships/").status_code == 403
    assert log_in(root).post("/projects/kitchen/memberships/").url == "/judge/kitchen/"
    assert Membership.objects.get(user=root).role == "manager"


def test_names_people_give_are_shown_as_text(as_ada):
    attack = "</title><script>alert(1)</script>"
    as_ada.post("/projects/new/", NEW | {"name": attack, "description": attack, "axes": attack, "reasons": attack})

    for address in ("/", "/projects/", "/projects/bakery/", "/judge/bakery/", "/projects/bakery/edit/"):
        assert "<script>alert(1)" not in as_ada.get(address).content.decode()


def test_guidelines_are_kept_by_version(kitchen, as_grace):
    for text in ("one", "two"):
        publish_guideline(kitchen, text)

    assert [row.version for row, _ in as_grace.get("/projects/kitchen/guidelines/").context["versions"]] == [2, 1]
    assert Guideline.objects.count() == 2
