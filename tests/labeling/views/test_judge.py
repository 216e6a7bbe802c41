"""The judge page through the browser's eyes: what a GET shows, what a POST does, what every refusal says."""

import json
import re
import uuid

import pytest
from django.test import Client

from labeling.domain.assignment import find_claim
from labeling.domain.gold import make_gold
from labeling.domain.skipping import skip_comparison
from labeling.models import Judgment, Membership, Project, Skip, Slot, User
from rlhf.models import Checkpoint, Run, Sample
from tests.labeling.conftest import log_in
from tests.labeling.rows import add_pair, add_pairs, claim, expire, judge

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/judge/kitchen/"}
PAGE = "/judge/kitchen/"


def read_hidden(html):
    """Return the hidden fields of the vote's form."""
    form = html[html.index('class="vote"') : html.index("</form>", html.index('class="vote"'))]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def vote(client, page="", *, choice="left", headers=HTMX, **changes):
    """Send the form of the page as the button `choice` does."""
    html = page or client.get(PAGE).content.decode()
    return client.post(f"{PAGE}judgments/", read_hidden(html) | {"choice": choice} | changes, headers=headers)


def test_the_way_in_is_the_login():
    answer = Client().get(PAGE)

    assert (answer.status_code, answer.url) == (302, "/accounts/login/?next=/judge/kitchen/")


def test_a_lost_login_takes_the_whole_browser_to_the_login(kitchen):
    answer = Client().post(f"{PAGE}judgments/", headers=HTMX)

    assert (answer.status_code, answer["HX-Redirect"]) == (200, "/accounts/login/?next=%2Fjudge%2Fkitchen%2F")


def test_a_get_claims_nothing(kitchen, as_grace):
    add_pair(kitchen)

    html = as_grace.get(PAGE).content.decode()

    assert "Start judging" in html
    assert Slot.objects.get().state == "free"


def test_starting_claims_and_shows_the_pair(kitchen, grace, as_grace):
    add_pair(kitchen, "Boil or fry?", text_a="**Boil.**", text_b="Fry.")

    answer = as_grace.post(f"{PAGE}claims/", headers=HTMX)

    html = answer.content.decode()
    assert html.lstrip().startswith('<section id="comparison"')
    assert all(text in html for text in ("Boil or fry?", "<strong>Boil.</strong>", "<p>Fry.</p>"))
    assert Slot.objects.get().labeler == grace


def test_without_htmx_starting_goes_back_to_the_page(kitchen, as_grace):
    add_pair(kitchen)

    answer = as_grace.post(f"{PAGE}claims/", follow=True)

    assert answer.redirect_chain == [(PAGE, 302)]
    assert 'class="vote"' in answer.content.decode()


def test_a_vote_is_stored_and_answered_with_the_next_pair(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    slot = claim(kitchen, grace)

    answer = vote(as_grace, choice="right", unsafe_left="true", note="hm", active_ms="1234")

    assert answer.status_code == 200
    assert 'data-announcement="Saved. Next pair."' in answer.content.decode()
    judgment = Judgment.objects.get()
    assert (judgment.slot, judgment.scale, judgment.note, judgment.active_ms) == (slot, "quick", "hm", 1234)
    assert judgment.verdict == ("B" if slot.a_shown_left else "A")
    assert (judgment.unsafe_a, judgment.unsafe_b) == (slot.a_shown_left, not slot.a_shown_left)
    assert str(find_claim(kitchen, grace).lease_token) == read_hidden(answer.content.decode())["lease_token"]


@pytest.mark.parametrize(("choice", "strength", "both_bad"), [("tie", 0, False), ("both_bad", 0, True)])
def test_a_tie_is_not_both_bad(kitchen, grace, as_grace, choice, strength, both_bad):
    add_pair(kitchen)
    claim(kitchen, grace)

    vote(as_grace, choice=choice)

    assert Judgment.objects.values_list("verdict", "strength", "both_bad").get() == ("tie", strength, both_bad)


def test_without_htmx_a_vote_goes_back_to_the_page_with_the_next_pair(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    claim(kitchen, grace)

    answer = vote(as_grace, headers={})

    assert (answer.status_code, answer.url) == (302, PAGE)
    assert Judgment.objects.count() == 1
    assert 'class="vote"' in as_grace.get(PAGE).content.decode()


def test_the_same_form_sent_twice_is_one_judgment(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()

    answers = [vote(as_grace, page) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert Judgment.objects.count() == 1


def test_a_second_tab_is_told_that_the_pair_is_judged(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    claim(kitchen, grace)
    first, second = (as_grace.get(PAGE).content.decode() for _ in range(2))
    vote(as_grace, first)

    answer = vote(as_grace, second)

    html = answer.content.decode()
    assert answer.status_code == 409
    assert "You have judged this comparison already" in html
    assert html.lstrip().startswith('<section id="comparison"')
    assert read_hidden(html)["slot"] == str(find_claim(kitchen, grace).pk)


def test_a_forged_token_is_a_lost_claim(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    claim(kitchen, grace)

    answer = vote(as_grace, lease_token=str(uuid.uuid4()))

    assert answer.status_code == 410
    assert "This comparison was not given to you" in answer.content.decode()
    assert Judgment.objects.count() == 0


def test_a_vote_without_a_choice_is_refused_and_the_pair_stays(kitchen, grace, as_grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    answer = vote(as_grace, choice="")

    html = answer.content.decode()
    assert answer.status_code == 422
    assert "Choose A, B, tie or both bad." in html
    assert read_hidden(html)["slot"] == str(slot.pk)


@pytest.mark.parametrize(
    "changes",
    [{"note": "a\x00b"}, {"active_ms": "-1"}, {"idempotency_key": "x"}, {"scale": "stars"}, {"shown_at": "yesterday"}],
)
def test_a_form_nobody_filled_in_is_refused(kitchen, grace, as_grace, changes):
    add_pair(kitchen)
    claim(kitchen, grace)

    assert vote(as_grace, **changes).status_code == 422
    assert Judgment.objects.count() == 0


def test_a_late_vote_is_kept_and_she_is_told(kitchen, grace, hedy, as_grace):
    add_pairs(kitchen, 2)
    slot = claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()
    expire(slot)
    Slot.objects.filter(pk=slot.pk).free_up()
    judge(claim(kitchen, hedy), hedy)
    judge(claim(kitchen, hedy), hedy)

    answer = vote(as_grace, page)

    assert "Saved as an extra vote" in answer.content.decode()
    assert Judgment.objects.filter(labeler=grace, is_extra=True).count() == 1


def test_seven_steps_are_kept_for_the_session(kitchen, grace, as_grace):
    add_pair(kitchen)
    slot = claim(kitchen, grace)

    html = as_grace.post(f"{PAGE}scale/", {"scale": "seven"}, follow=True).content.decode()

    steps = re.findall(r'name="preference" value="(-?\d)" required data-key="(\d)"', html)
    assert steps == [(str(value), str(key)) for key, value in enumerate(range(-3, 4), start=1)]
    vote(as_grace, choice="", preference="-3", both_bad="true")
    judgment = Judgment.objects.get()
    expected = ("A", -3) if slot.a_shown_left else ("B", 3)
    assert (judgment.verdict, judgment.strength, judgment.scale, judgment.both_bad) == (*expected, "seven", True)


def test_seven_steps_without_a_step_are_refused(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)
    as_grace.post(f"{PAGE}scale/", {"scale": "seven"}, headers=HTMX)

    assert vote(as_grace, choice="").status_code == 422


def test_a_skip_is_answered_with_the_next_pair(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    slot = claim(kitchen, grace)
    fields = {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "unsafe"}

    answer = as_grace.post(f"{PAGE}skips/", fields, headers=HTMX)

    html = answer.content.decode()
    assert 'data-announcement="Skipped. Next pair."' in html
    assert Skip.objects.values_list("comparison", "reason").get() == (slot.comparison_id, "unsafe")
    assert find_claim(kitchen, grace).comparison_id != slot.comparison_id


def test_undoing_a_skip_brings_the_pair_back(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    slot = claim(kitchen, grace)
    as_grace.post(f"{PAGE}skips/", {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "unsafe"})

    as_grace.post(f"{PAGE}undo/", headers=HTMX)

    assert find_claim(kitchen, grace).comparison_id == slot.comparison_id


def test_undo_opens_the_last_judgment_with_its_choice(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    judgment = judge(claim(kitchen, grace), grace, preference=2)

    piece = as_grace.post(f"{PAGE}undo/", headers=HTMX)
    plain = as_grace.post(f"{PAGE}undo/", follow=True)

    pressed = [
        re.findall(r'value="(\w+)" data-key="\w+" aria-pressed="true"', answer.content.decode())
        for answer in (piece, plain)
    ]
    assert pressed == [["right"], ["right"]]
    assert piece["HX-Replace-Url"] == f"{PAGE}judgments/{judgment.pk}/"
    assert plain.redirect_chain == [(f"{PAGE}judgments/{judgment.pk}/", 302)]


def test_undo_at_a_vote_goes_back_to_the_one_before_and_to_a_skip_between(kitchen, grace, as_grace):
    add_pairs(kitchen, 5)
    first, second = (judge(claim(kitchen, grace), grace) for _ in range(2))
    passed = claim(kitchen, grace)
    skip_comparison(passed.pk, grace, lease_token=passed.lease_token, reason="unsafe")
    third = judge(claim(kitchen, grace), grace)

    def undo(judgment=None):
        answer = as_grace.post(f"{PAGE}undo/", {"before": judgment.pk if judgment else ""}, headers=HTMX)
        announced = re.search(r'data-announcement="([^"]*)"', answer.content.decode()).group(1)
        return answer["HX-Replace-Url"].removeprefix(PAGE), announced

    assert undo() == (f"judgments/{third.pk}/", "Here is your last vote again.")
    assert undo(third) == ("", "Here is the skipped pair again.")
    assert (Skip.objects.count(), find_claim(kitchen, grace).comparison_id) == (0, passed.comparison_id)
    assert undo(third) == (f"judgments/{second.pk}/", "Here is the vote before it.")
    assert undo(second) == (f"judgments/{first.pk}/", "Here is the vote before it.")
    assert undo(first) == (f"judgments/{first.pk}/", "This is your first vote here: there is none before it.")


def test_undo_goes_back_from_no_vote_but_her_own(kitchen, grace, hedy, as_grace):
    add_pairs(kitchen, 3, overlap=2)
    hers = [judge(claim(kitchen, grace), grace) for _ in range(2)]
    other = judge(claim(kitchen, hedy), hedy)

    for before in (other.pk, 2**62, "", "x"):
        answer = as_grace.post(f"{PAGE}undo/", {"before": before}, headers=HTMX)
        assert answer["HX-Replace-Url"] == f"{PAGE}judgments/{hers[1].pk}/"


def test_with_nothing_to_undo_she_is_told_so(kitchen, as_grace):
    add_pair(kitchen)

    assert "There is nothing to undo." in as_grace.post(f"{PAGE}undo/", headers=HTMX).content.decode()


def test_a_new_choice_is_a_revision_and_goes_on(kitchen, grace, as_grace):
    add_pairs(kitchen, 2)
    slot = claim(kitchen, grace)
    judgment = judge(slot, grace, preference=2)
    address = f"{PAGE}judgments/{judgment.pk}/"
    fields = read_hidden(as_grace.get(address).content.decode())

    answer = as_grace.post(address, fields | {"choice": "left"}, headers=HTMX)

    assert 'data-announcement="Changed. Next pair."' in answer.content.decode()
    assert answer["HX-Replace-Url"] == PAGE
    last = Judgment.objects.current().get()
    assert (last.revises, last.verdict) == (judgment, "A" if slot.a_shown_left else "B")
    assert find_claim(kitchen, grace).comparison_id != slot.comparison_id


def test_an_old_judgments_page_leads_to_the_last_word(kitchen, grace, as_grace):
    add_pair(kitchen)
    judgment = judge(claim(kitchen, grace), grace)
    address = f"{PAGE}judgments/{judgment.pk}/"
    as_grace.post(address, read_hidden(as_grace.get(address).content.decode()) | {"choice": "tie"})

    answer = as_grace.get(address)

    assert answer.url == f"{PAGE}judgments/{Judgment.objects.current().get().pk}/"


def test_nobody_opens_someone_elses_judgment(kitchen, grace, as_hedy):
    add_pair(kitchen)
    judgment = judge(claim(kitchen, grace), grace)

    assert as_hedy.get(f"{PAGE}judgments/{judgment.pk}/").status_code == 404


def test_a_heartbeat_renews_only_her_own_lease(kitchen, grace, as_grace, as_hedy):
    add_pair(kitchen)
    slot = claim(kitchen, grace)
    expire(slot)
    lost = Slot.objects.get().lease_until

    assert as_hedy.post(f"{PAGE}claims/{slot.pk}/renew/").status_code == 410
    assert Slot.objects.get().lease_until == lost
    assert as_grace.post(f"{PAGE}claims/{slot.pk}/renew/").status_code == 204
    assert Slot.objects.get().lease_until > lost


@pytest.mark.parametrize("length", [120_000])
def test_a_very_long_text_is_linked_whole(kitchen, grace, as_grace, as_hedy, length):
    add_pair(kitchen, text_a="x" * length, text_b="y\u202e" * 60_000)
    slot = claim(kitchen, grace)
    html = as_grace.get(PAGE).content.decode()
    side = "left" if slot.a_shown_left else "right"

    whole = as_grace.get(f"{PAGE}claims/{slot.pk}/{side}/")

    assert f"{PAGE}claims/{slot.pk}/{side}/" in html
    assert (whole.content, whole["Content-Type"]) == (b"x" * length, "text/plain; charset=utf-8")
    assert as_hedy.get(f"{PAGE}claims/{slot.pk}/{side}/").status_code == 404


def test_an_empty_completion_says_so(kitchen, grace, as_grace):
    add_pair(kitchen, text_a="", text_b=" \n")
    claim(kitchen, grace)

    html = as_grace.get(PAGE).content.decode()

    assert "(empty completion)" in html
    assert "(nothing but white space)" in html


@pytest.mark.parametrize("address", ["", "judgments/1/", "claims/1/left/"])
def test_a_strangers_get_finds_nothing(kitchen, as_eve, address):
    assert as_eve.get(f"{PAGE}{address}").status_code == 404


@pytest.mark.parametrize("address", ["claims/", "judgments/", "skips/", "undo/", "scale/", "claims/1/renew/"])
def test_a_strangers_post_finds_nothing(kitchen, as_eve, address):
    assert as_eve.post(f"{PAGE}{address}").status_code == 404


def test_a_member_suspended_between_page_and_vote_is_refused(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)
    page = as_grace.get(PAGE).content.decode()
    Membership.objects.filter(user=grace).update(is_active=False)

    answers = [as_grace.get(PAGE), as_grace.post(f"{PAGE}claims/", headers=HTMX), vote(as_grace, page)]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert Judgment.objects.count() == 0


def test_a_superuser_is_offered_to_join_before_she_judges(kitchen):
    client = log_in(User.objects.create_superuser("root"))
    add_pair(kitchen)

    assert client.get(PAGE).status_code == 403
    client.post("/projects/kitchen/memberships/")
    assert client.get(PAGE).status_code == 200


def test_a_vote_without_the_token_of_the_page_is_refused(kitchen, grace):
    add_pair(kitchen)
    claim(kitchen, grace)
    client = Client(enforce_csrf_checks=True)
    client.force_login(grace, backend="labeling.accounts.PasswordBackend")
    page = client.get(PAGE).content.decode()
    token = json.loads(re.search(r"hx-headers='([^']+)'", page).group(1))

    fields = read_hidden(page) | {"choice": "left", "csrfmiddlewaretoken": ""}

    assert client.post(f"{PAGE}judgments/", fields, headers=HTMX).status_code == 403
    assert Judgment.objects.count() == 0
    assert client.post(f"{PAGE}judgments/", fields, headers=HTMX | token).status_code == 200


def test_the_page_is_its_readers_alone(kitchen, as_grace):
    answer = as_grace.get(PAGE)

    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Frame-Options"] == "DENY"
    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'self'",
        "img-src": "'self' data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_the_page_has_neither_inline_script_nor_style(kitchen, grace, as_grace):
    add_pair(kitchen)
    claim(kitchen, grace)

    html = as_grace.get(PAGE).content.decode()

    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=", html) == []


def test_nothing_tells_which_model_wrote_what(kitchen, grace, as_grace, ada):
    comparison = add_pair(kitchen)
    run = Run.objects.create(project=kitchen, kind="sample", config={"temperature": 0.777})
    checkpoint = Checkpoint.objects.create(
        project=kitchen,
        run=run,
        name="secret-policy-v9",
        kind="policy",
        path="runs/secret-path",
        manifest_sha256="e" * 64,
    )
    for completion in (comparison.completion_a, comparison.completion_b):
        Sample.objects.create(
            run=run,
            checkpoint=checkpoint,
            prompt=comparison.prompt,
            completion=completion,
            index=completion.pk,
            text=completion.text,
            n_tokens=31337,
            finished=True,
            decoding={"temperature": 0.777},
            seed=271828,
        )
    claim(kitchen, grace)
    judged = as_grace.get(PAGE).content.decode()
    pages = [judged, vote(as_grace, judged).content.decode(), as_grace.get("/").content.decode()]
    pages.append(as_grace.get(f"{PAGE}judgments/{Judgment.objects.get().pk}/").content.decode())

    told = [word for word in ("secret", "0.777", "31337", "271828", "e" * 64) if any(word in page for page in pages)]
    assert told == []


@pytest.mark.parametrize("n", [1, 3])
def test_the_page_costs_the_same_whatever_the_queue(kitchen, grace, as_grace, django_assert_num_queries, n):
    add_pairs(kitchen, n)
    claim(kitchen, grace)

    with django_assert_num_queries(10):
        as_grace.get(PAGE)


@pytest.mark.parametrize(
    ("make_ready", "said"),
    [
        (lambda kitchen, ada: None, "Nothing to judge yet"),
        (lambda kitchen, ada: (add_pair(kitchen), judge(claim(kitchen, ada), ada)), "Everything is judged"),
        (lambda kitchen, ada: (add_pair(kitchen), claim(kitchen, ada)), "The rest is in other hands"),
    ],
)
def test_an_empty_desk_says_why(kitchen, ada, as_grace, make_ready, said):
    make_ready(kitchen, ada)

    page, piece = as_grace.get(PAGE), as_grace.post(f"{PAGE}claims/", headers=HTMX)

    assert said in page.content.decode()
    assert said in piece.content.decode()


def test_a_question_of_an_exam_is_not_skipped_and_stays(kitchen, ada, grace, as_grace):
    make_gold(add_pair(kitchen), ada, strength_min=1, strength_max=3, is_exam=True)
    Project.objects.update(exam_size=1)
    slot = claim(Project.objects.get(pk=kitchen.pk), grace)
    fields = {"slot": slot.pk, "lease_token": slot.lease_token, "reason": "language"}

    response = as_grace.post(f"{PAGE}skips/", fields, headers=HTMX)

    assert response.status_code == 422
    assert "cannot be skipped" in response.content.decode()
    assert f'data-slot="{slot.pk}"' in response.content.decode()
