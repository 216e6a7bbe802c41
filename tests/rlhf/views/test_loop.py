from __future__ import annotations

import re

import pytest
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from labeling.domain.people import add_member
from labeling.models import AuditEvent, Project, Slot
from rlhf.domain.counting import count_new_judgments
from rlhf.domain.demo import run_settings
from rlhf.domain.standing import read_standing, read_standings
from rlhf.forms.projects import LoopForm
from rlhf.models import Loop, Round
from rlhf.views.circle import draw_circle
from tests.rlhf.conftest import judge, make_checkpoint, make_comparison, make_round, make_run

PROGRESS = "/loop/progress/"


def test_progress_shows_the_stage_its_bar_and_the_seconds_left(as_manager, project):
    round = make_round(project, number=3)
    make_run(project, kind="reward", state="succeeded", round=round)
    stage = "training the policy with DPO"
    make_run(project, kind="dpo", state="running", round=round, step=40, total_steps=175, eta_s=38.0, stage=stage)

    answer = as_manager.get(PROGRESS)

    assert answer.status_code == 200
    assert "Stage 2 of 3: DPO" in answer.text
    assert 'value="40" max="175"' in answer.text
    assert "training the policy with DPO, step 40 of 175, about 40 s left" in answer.text


def test_progress_stops_the_polling_once_no_round_runs(as_manager, project):
    round = make_round(project)
    polled = as_manager.get(PROGRESS)
    Round.objects.filter(pk=round.pk).update(state="succeeded")

    over = as_manager.get(PROGRESS)

    assert (polled.status_code, over.status_code) == (200, 286)


def test_progress_leads_to_the_comparisons_that_wait(as_manager, project):
    make_round(project, state="succeeded", n_queued=2)
    for _ in range(2):
        Slot.objects.create(project=project, comparison=make_comparison(project), number=0, a_shown_left=True)

    answer = as_manager.get(PROGRESS)

    assert '<strong class="number">2</strong> comparisons are waiting' in answer.text
    assert 'href="/judge/harbour/"' in answer.text


@pytest.mark.parametrize(("n_judgments", "may_start"), [(1, False), (2, True)])
def test_the_button_is_enabled_when_the_threshold_is_reached(as_manager, project, labeler, n_judgments, may_start):
    Loop.objects.create(project=project, threshold=2)
    make_checkpoint(project)
    for _ in range(n_judgments):
        judge(make_comparison(project), labeler)

    answer = as_manager.get(PROGRESS)

    assert f'<strong class="number">{n_judgments}</strong> of the 2 new judgments' in answer.text
    assert ("disabled>Start the next round" not in answer.text) == may_start


def test_without_a_policy_there_is_no_round_to_start(as_manager, project):
    answer = as_manager.get(PROGRESS)

    assert "No policy yet" in answer.text
    assert "Start the next round" not in answer.text


def test_a_failed_round_says_why(as_manager, project):
    make_round(project, number=1, state="failed", cause="DPO failed. non-finite loss at step 12")

    answer = as_manager.get(PROGRESS)

    assert "Round 1 failed." in answer.text
    assert "DPO failed. non-finite loss at step 12" in answer.text


@pytest.mark.django_db(transaction=True)
def test_a_round_starts_when_it_is_due(as_manager, project, labeler):
    Loop.objects.create(project=project, threshold=1)
    make_checkpoint(project)
    judge(make_comparison(project), labeler)

    answer = as_manager.post(reverse("rlhf:round-create", args=["harbour"]))

    assert (answer.status_code, answer["Location"]) == (302, "/loop/")
    assert list(Round.objects.values_list("project__slug", "number", "state")) == [("harbour", 1, "running")]


def test_a_round_that_is_not_ready_is_refused_with_the_reason(as_manager, project):
    answer = as_manager.post(reverse("rlhf:round-create", args=["harbour"]))

    assert answer.status_code == 409
    assert "0 of the 100 new judgments a round needs" in answer.text
    assert not Round.objects.exists()


def test_threshold_and_size_are_saved_and_the_trail_says_by_whom(as_manager, manager, project):
    answer = as_manager.post(
        reverse("rlhf:loop-update", args=["harbour"]),
        {"harbour-threshold": 20, "harbour-n_pairs": 40, "harbour-gate_votes": 8},
    )

    assert answer.status_code == 302
    assert list(Loop.objects.values_list("project__slug", "threshold", "n_pairs")) == [("harbour", 20, 40)]
    event = AuditEvent.objects.get(verb="loop.edit")
    assert (event.actor, event.project.slug) == (manager, "harbour")
    assert event.before == {"threshold": 100, "n_pairs": 300, "gate_votes": 50}
    assert event.after == {"threshold": 20, "n_pairs": 40, "gate_votes": 8}


def test_the_page_shows_and_saves_what_is_set_of_runs_and_of_the_rule(as_manager, project):
    Loop.objects.create(project=project, settings={"ppo": {"kl_coef": 0.05}}, rule={"consensus": "soft", "note": "May"})

    page = as_manager.get("/loop/").text
    answer = as_manager.post(
        reverse("rlhf:loop-update", args=["harbour"]),
        {
            "harbour-settings": "ppo.kl_coef = 0.1\r\nppo.alarm = stop\r\n",
            "harbour-consensus": "dawid_skene",
            "harbour-rule": "soft = true",
            "harbour-gate_votes": 8,
        },
    )

    assert "ppo.kl_coef = 0.05</textarea>" in page
    assert '<option value="soft" selected>' in page
    assert "note = May</textarea>" in page
    assert answer.status_code == 302
    assert Loop.objects.values("settings", "rule").get() == {
        "settings": {"ppo": {"kl_coef": 0.1, "alarm": "stop"}},
        "rule": {"consensus": "dawid_skene", "soft": True},
    }
    assert AuditEvent.objects.get(verb="loop.edit").before == {
        "gate_votes": 50,
        "settings": {"ppo": {"kl_coef": 0.05}},
        "rule": {"consensus": "soft", "note": "May"},
    }


def test_a_page_that_is_saved_as_it_was_shown_changes_nothing(as_manager, project):
    Loop.objects.create(project=project, settings=run_settings(), rule={"include": ["own", "ai:a"]}, gate="open")
    shown = as_manager.get("/loop/").context["cards"][0].form
    sent = {shown.add_prefix(name): shown[name].value() for name in shown.fields}
    fields = {name: "" if value is None else value for name, value in sent.items()}

    as_manager.post(reverse("rlhf:loop-update", args=["harbour"]), fields)

    assert not AuditEvent.objects.filter(verb="loop.edit").exists()
    assert Loop.objects.values("settings", "rule").get() == {
        "settings": run_settings(),
        "rule": {"include": ["own", "ai:a"]},
    }


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("settings", "ppo.alarm = halt", "ppo: alarm must be one of warn, stop, off, got &#x27;halt&#x27;"),
        ("rule", "quorum = 2", "unknown parts of a rule: quorum; it has include, consensus"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_beside_its_field_and_kept_to_be_mended(
    as_manager, project, field, text, words
):
    Loop.objects.create(project=project, gate="open")

    answer = as_manager.post(reverse("rlhf:loop-update", args=["harbour"]), {f"harbour-{field}": text})

    assert answer.status_code == 422
    assert words in answer.text[answer.text.index(f'id="id_harbour-{field}_error"') :]
    assert f"{text}</textarea>" in answer.text
    assert Loop.objects.values(field).get() == {field: {}}


def test_a_pause_and_a_promotion_while_settings_are_saved_stay(project):
    loop = Loop.objects.create(project=project, state="running", gate="open")
    policy = make_checkpoint(project)
    form = LoopForm(QueryDict("harbour-threshold=20"), instance=loop, prefix="harbour")
    Loop.objects.update(state="paused", cause="paused by mia", policy=policy)

    assert form.is_valid(), form.errors
    form.save()

    rows = Loop.objects.values_list("threshold", "state", "cause", "policy")
    assert list(rows) == [(20, "paused", "paused by mia", policy.pk)]


def test_an_impossible_threshold_is_refused_beside_its_field(as_manager, project):
    Loop.objects.create(project=project, threshold=7)

    answer = as_manager.post(
        reverse("rlhf:loop-update", args=["harbour"]), {"harbour-threshold": 0, "harbour-n_pairs": 40}
    )

    assert answer.status_code == 422
    assert 'id="id_harbour-threshold_error"' in answer.text
    assert Loop.objects.get().threshold == 7


def test_the_page_polls_running_projects_only(as_manager, project):
    idle = as_manager.get("/loop/")
    make_round(project)

    running = as_manager.get("/loop/")

    assert 'hx-get="/loop/?project=harbour"' not in idle.text
    assert 'hx-get="/loop/?project=harbour" hx-trigger="every 2s"' in running.text


def test_the_polled_piece_is_one_project_without_the_page_around_it(as_manager, project):
    make_round(project, number=5)

    answer = as_manager.get("/loop/?project=harbour", headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert "Round 5" in answer.text
    assert "<html" not in answer.text


@pytest.mark.parametrize("n_projects", [1, 3])
@pytest.mark.parametrize(("address", "n_queries"), [(PROGRESS, 13), ("/loop/", 15)])
def test_queries_do_not_grow_with_projects(as_admin, address, n_queries, n_projects, django_assert_num_queries):
    for number in range(n_projects):
        project = Project.objects.create(slug=f"p{number}", name=f"P{number}")
        make_checkpoint(project)
        make_run(project, kind="reward", state="succeeded", round=make_round(project, state="succeeded"))

    with django_assert_num_queries(n_queries):
        as_admin.get(address)


@pytest.mark.database
def test_new_judgments_are_those_since_the_last_round_that_did_not_fail(project, other_project, labeler):
    add_member(other_project, labeler, role="labeler")
    used = judge(make_comparison(project), labeler)
    make_round(project, number=0, state="succeeded", upto=used.pk)
    failed = judge(make_comparison(project), labeler)
    make_round(project, number=1, state="failed", upto=failed.pk)
    judge(make_comparison(project), labeler)
    judge(make_comparison(other_project), labeler)

    standings = read_standings([project, other_project])

    assert [standing.n_new for standing in standings] == [2, 1]
    assert [count_new_judgments(project), count_new_judgments(other_project)] == [2, 1]


@pytest.mark.database
def test_a_standing_holds_the_last_rounds_and_of_each_stage_the_newest_run(project):
    make_round(project, number=0, state="succeeded")
    round = make_round(project, number=1)
    make_run(project, kind="reward", state="failed", round=round)
    again = make_run(project, kind="reward", state="running", round=round)

    (standing,) = read_standings([project], n_rounds=1)

    assert [turn.round.number for turn in standing.turns] == [1]
    assert [(stage.name, stage.run) for stage in standing.turn.stages] == [
        ("reward", again),
        ("dpo", None),
        ("sample", None),
    ]
    assert standing.turn.stage_number == 1


def test_a_gate_that_asks_for_more_votes_than_a_round_can_bring_is_refused(as_manager, project):
    answer = as_manager.post(reverse("rlhf:loop-update", args=["harbour"]), {"harbour-n_pairs": 40})

    assert answer.status_code == 422
    assert "A round queues 8 pairs that show both policies, and the gate asks for 50" in answer.text


def test_a_loop_is_started_paused_with_a_reason_resumed_and_stopped(as_manager, project):
    make_checkpoint(project)
    states = []
    for act, because in [("start", ""), ("pause", "the guideline changes"), ("resume", ""), ("stop", "")]:
        answer = as_manager.post(reverse(f"rlhf:loop-{act}", args=["harbour"]), {"because": because})
        states.append((answer.status_code, Loop.objects.get().state, Loop.objects.get().cause))

    assert states == [
        (302, "running", ""),
        (302, "paused", "paused by mia: the guideline changes"),
        (302, "running", ""),
        (302, "stopped", "stopped by mia"),
    ]


def test_what_cannot_be_done_now_is_said(as_manager, project):
    answer = as_manager.post(reverse("rlhf:loop-start", args=["harbour"]))
    step = as_manager.post(reverse("rlhf:loop-step", args=["harbour"]))

    assert (answer.status_code, step.status_code) == (409, 409)
    assert "Harbour has no policy yet" in answer.text
    assert "0 of the 100 new judgments a round needs" in step.text


@pytest.mark.parametrize("act", ["start", "pause", "resume", "stop", "step", "rollback"])
def test_loops_of_others_are_not_there(as_stranger, as_labeler, project, act):
    address = reverse(f"rlhf:loop-{act}", args=["harbour"])

    assert [client.post(address).status_code for client in (as_stranger, as_labeler)] == [404, 404]


def test_the_page_goes_back_to_a_promoted_policy_and_shows_why_each_was_decided_about(as_manager, project):
    first, second = (make_checkpoint(project, name=name) for name in ("dpo-one", "dpo-two"))
    Loop.objects.create(project=project, policy=second)
    for number, policy in enumerate((first, second), 1):
        facts = {"decision": "promoted", "decided_at": timezone.now(), "reasons": [f"{policy} wins in 64%."]}
        make_round(project, number=number, state="succeeded", candidate=policy, **facts)
    page = as_manager.get("/loop/").text

    answer = as_manager.post(reverse("rlhf:loop-rollback", args=["harbour"]), {"policy": first.pk})

    assert f'<option value="{first.pk}">dpo-one</option>' in page
    assert "dpo-two wins in 64%." in page
    assert (answer.status_code, Loop.objects.get().policy) == (302, first)
    assert Round.objects.get(number=2).decision == "rolled_back"


def test_the_page_offers_every_policy_one_can_go_back_to(as_manager, project, other_project):
    base, *made = (make_checkpoint(project, name=name) for name in ("sft-zero", *(f"dpo-{n}" for n in range(1, 13))))
    Loop.objects.create(project=project, policy=made[-1])
    for number, policy in enumerate(made, 1):
        facts = {"decision": "promoted", "decided_at": timezone.now()}
        make_round(project, number=number, state="succeeded", base=base, candidate=policy, **facts)
    make_round(other_project, number=1, state="succeeded", base=make_checkpoint(other_project, name="foreign"))

    page = as_manager.get("/loop/").text

    offered = re.findall(r'<option value="(\d+)"[^>]*>(?:sft-zero|dpo-\d+|foreign)</option>', page)
    assert offered == [str(policy.pk) for policy in [*reversed(made[:-1]), base]]


@pytest.mark.parametrize(
    ("state", "runs", "here"),
    [
        ("succeeded", [], "label"),
        ("running", [("reward", "running")], "learn"),
        ("running", [("reward", "succeeded"), ("dpo", "succeeded"), ("evaluate", "queued")], "evaluate"),
        ("running", [("reward", "succeeded"), ("dpo", "succeeded"), ("evaluate", "succeeded")], "sample"),
    ],
)
def test_the_circle_stands_where_the_round_does(project, state, runs, here):
    round = make_round(project, state=state, stages=["reward", "dpo", "evaluate", "sample"])
    for kind, run_state in runs:
        make_run(project, kind=kind, state=run_state, round=round)

    places = draw_circle(read_standing(project))

    assert [place.name for place in places if place.state == "here"] == [here]
    assert [place.name for place in places] == ["label", "learn", "evaluate", "gate", "promote", "sample", "queue"]


def test_a_project_has_a_page_of_its_loop_alone(as_admin, as_manager, project, other_project):
    alone, strange = as_admin.get("/loop/?project=harbour"), as_manager.get("/loop/?project=island")

    assert (alone.status_code, 'id="loop-harbour"' in alone.text, "island" in alone.text) == (200, True, False)
    assert strange.status_code == 404
