"""The API answers managers about their own projects; for labelers there is nothing to ask."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from labeling.models import AuditEvent, Slice
from rlhf.api.loops import LoopSettingsSerializer
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.models import Dataset, Loop, Round, Run
from tests.rlhf.conftest import (
    judge,
    log_metrics,
    make_checkpoint,
    make_comparison,
    make_dataset,
    make_round,
    make_run,
)
from tests.rlhf.domain.test_board import score

NOUNS = ["datasets", "runs", "checkpoints", "rounds"]


def make_one(noun, project):
    if noun == "datasets":
        return make_dataset(project)
    if noun == "runs":
        return make_run(project, state="failed", cause="a secret cause")
    if noun == "checkpoints":
        return make_checkpoint(project, name="secret-policy")
    return make_round(project, state="failed", cause="a secret cause", number=Round.objects.count())


def post(client, address, body):
    return client.post(address, body, content_type="application/json")


@pytest.mark.parametrize("noun", NOUNS)
def test_a_manager_lists_and_reads_what_her_projects_hold(as_manager, project, other_project, noun):
    own = make_one(noun, project)
    make_one(noun, other_project)

    listed = as_manager.get(f"/api/v1/{noun}/")
    read = as_manager.get(f"/api/v1/{noun}/{own.pk}/")

    assert [row["id"] for row in listed.json()["results"]] == [own.pk]
    assert listed.json()["results"] == [read.json()]
    assert read.json()["project"] == "harbour"


@pytest.mark.parametrize("noun", NOUNS)
def test_for_a_labeler_nothing_of_it_is_there(as_labeler, project, noun):
    row = make_one(noun, project)

    answers = [as_labeler.get(address) for address in (f"/api/v1/{noun}/", f"/api/v1/{noun}/{row.pk}/")]
    answers.append(post(as_labeler, f"/api/v1/{noun}/", {"project": "harbour", "kind": "dpo"}))

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert not any(b"secret" in answer.content for answer in answers)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_manager_of_another_project_gets_an_empty_list_and_404(as_stranger, project, noun):
    row = make_one(noun, project)

    assert as_stranger.get(f"/api/v1/{noun}/").json()["results"] == []
    assert as_stranger.get(f"/api/v1/{noun}/{row.pk}/").status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_without_a_login_the_api_answers_403(client, project, noun):
    assert client.get(f"/api/v1/{noun}/").status_code == 403


@pytest.mark.parametrize("noun", ["datasets", "runs", "rounds"])
def test_another_managers_project_does_not_exist_for_a_writer(as_stranger, project, noun):
    answer = post(as_stranger, f"/api/v1/{noun}/", {"project": "harbour", "kind": "dpo", "name": "x"})

    assert answer.status_code == 400
    assert "does not exist" in str(answer.json()["project"])


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_lists_take_as_many_queries_for_three_rows_as_for_one(
    as_admin, project, noun, n_rows, django_assert_num_queries
):
    for _ in range(n_rows):
        make_one(noun, project)

    with django_assert_num_queries(4 if noun == "rounds" else 3):
        as_admin.get(f"/api/v1/{noun}/")


def test_pages_are_linked_by_cursor(as_manager, project):
    pks = [make_run(project, state="failed").pk for _ in range(3)]

    first = as_manager.get("/api/v1/runs/", {"page_size": 2}).json()
    second = as_manager.get(first["next"]).json()

    assert [row["id"] for row in first["results"] + second["results"]] == pks[::-1]
    assert second["next"] is None


def test_a_list_is_narrowed_by_its_columns(as_manager, project):
    make_run(project, kind="sft", state="failed")
    queued = make_run(project, kind="dpo")

    answer = as_manager.get("/api/v1/runs/", {"project": "harbour", "kind": "dpo", "state": "queued"})

    assert [row["id"] for row in answer.json()["results"]] == [queued.pk]


@pytest.mark.django_db(transaction=True)
def test_a_run_is_queued_over_the_defaults_of_the_loop(as_manager, manager, project):
    Loop.objects.create(project=project, settings={"dpo": {"epochs": 2.0}})
    dataset, base = make_dataset(project), make_checkpoint(project)
    body = {"project": "harbour", "kind": "dpo", "settings": {"beta": 0.3}, "dataset": dataset.pk, "base": base.pk}

    answer = post(as_manager, "/api/v1/runs/", body)

    run = Run.objects.get()
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (201, run.pk, "queued")
    assert run.load_config() == DPOConfig(beta=0.3, epochs=2.0)
    assert (run.dataset, run.base, run.created_by) == (dataset, base, manager)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"settings": {"beta": -1.0}}, "settings", "beta must be > 0, got -1.0"),
        ({"settings": {"bta": 1.0}}, "settings", "unknown setting bta"),
        ({"settings": {"beta": "much"}}, "settings", "beta must be a finite number"),
        ({"settings": {"base_model": "/etc"}}, "settings", "name a checkpoint instead"),
        ({"settings": []}, "settings", "Expected a dictionary"),
        ({"kind": "magic"}, "kind", "not a valid choice"),
        ({"base": 999999}, "base", "does not exist"),
        ({"reward_model": "own"}, "reward_model", "not one of Harbour that a dpo run can use"),
        ({"base": "foreign"}, "base", "not one of Harbour that a dpo run can use"),
        ({"dataset": "prompts"}, "dataset", "not one of Harbour that a dpo run can use"),
    ],
)
def test_a_run_that_cannot_be_is_refused_beside_its_field(as_manager, project, other_project, change, field, message):
    rows = {
        "own": make_checkpoint(project, kind="reward").pk,
        "foreign": make_checkpoint(other_project).pk,
        "prompts": make_dataset(project, kind="prompt").pk,
    }
    body = {"project": "harbour", "kind": "dpo"} | {
        name: rows.get(value, value) if isinstance(value, str) else value for name, value in change.items()
    }

    answer = post(as_manager, "/api/v1/runs/", body)

    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert message in str(answer.json()[field])
    assert not Run.objects.exists()


def test_what_is_not_ready_answers_409_with_what_to_do(as_manager, project):
    run = post(as_manager, "/api/v1/runs/", {"project": "harbour", "kind": "dpo"})
    dataset = post(as_manager, "/api/v1/datasets/", {"project": "harbour", "name": "first"})
    round = post(as_manager, "/api/v1/rounds/", {"project": "harbour"})

    assert [answer.status_code for answer in (run, dataset, round)] == [409, 409, 409]
    assert "has no policy to start from" in run.json()["detail"]
    assert "has no judgments" in dataset.json()["detail"]
    assert "0 of the 100 new judgments" in round.json()["detail"]


def test_a_run_is_cancelled(as_manager, project):
    run = make_run(project)

    answer = post(as_manager, f"/api/v1/runs/{run.pk}/cancel/", {})

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_metrics_come_step_by_step(as_manager, project):
    run = make_run(project, state="running")
    log_metrics(run, 3, loss=0.3)
    log_metrics(make_run(project, kind="sft", state="running"), 1, loss=9.0)

    answer = as_manager.get(f"/api/v1/runs/{run.pk}/metrics/")

    assert [row["step"] for row in answer.json()["results"]] == [1, 2, 3]
    assert answer.json()["results"][2] == {"step": 3, "values": {"loss": pytest.approx(0.3)}}


def test_a_dataset_is_frozen_by_its_rule(as_manager, manager, project, labeler):
    for _ in range(4):
        judge(make_comparison(project), labeler)
    body = {"project": "harbour", "name": "first", "rule": {"test_share": 0.5, "use_margin": True}}

    answer = post(as_manager, "/api/v1/datasets/", body)

    dataset = Dataset.objects.get()
    assert (answer.status_code, answer.json()["id"], answer.json()["sha256"]) == (201, dataset.pk, dataset.sha256)
    assert FreezeRule.from_json(answer.json()["rule"]) == FreezeRule(test_share=0.5, use_margin=True)
    assert dataset.created_by == manager


@pytest.mark.parametrize(
    "rule",
    [{"test_share": 2}, {"test_share": "nan"}, {"min_judgments": "many"}, {"include": []}, {"include": ["all"]}, [], 5],
)
def test_an_impossible_rule_is_refused(as_manager, project, rule):
    answer = post(as_manager, "/api/v1/datasets/", {"project": "harbour", "name": "first", "rule": rule})

    assert (answer.status_code, list(answer.json())) == (400, ["rule"])


@pytest.mark.django_db(transaction=True)
def test_a_round_is_started_when_it_is_due(as_manager, project, labeler):
    Loop.objects.create(project=project, threshold=1, gate="open", strategy="random")
    make_checkpoint(project)
    judge(make_comparison(project), labeler)

    answer = post(as_manager, "/api/v1/rounds/", {"project": "harbour"})

    assert answer.status_code == 201
    assert (answer.json()["state"], answer.json()["stages"]) == (
        "running",
        ["reward", "dpo", "sample", "sample:previous"],
    )


@pytest.mark.parametrize("address", ["/api/v1/runs/99999999999999999999/", "/api/v1/runs/x/", "/api/v1/runs/-1/"])
def test_an_id_that_cannot_be_is_not_found(as_manager, project, address):
    assert as_manager.get(address).status_code == 404


def test_the_schema_is_complete():
    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")


def test_a_loop_says_how_it_stands_and_is_moved(as_manager, project):
    make_checkpoint(project)

    started = post(as_manager, "/api/v1/loops/harbour/start/", {})
    paused = post(as_manager, "/api/v1/loops/harbour/pause/", {"because": "lunch"})
    again = post(as_manager, "/api/v1/loops/harbour/pause/", {})
    listed = as_manager.get("/api/v1/loops/").json()["results"]

    assert [answer.status_code for answer in (started, paused, again)] == [200, 200, 409]
    assert started.json()["waits"].startswith("waits for 100 more judgments of 100 on any pair;")
    assert (paused.json()["state"], paused.json()["waits"]) == ("paused", "paused by mia: lunch")
    assert again.json()["detail"] == "the loop of Harbour is paused already: paused by mia: lunch"
    assert [(row["project"], row["state"], row["round"]) for row in listed] == [("harbour", "paused", None)]


def test_the_settings_of_a_loop_are_changed_within_reason(as_manager, project, other_project):
    slice = Slice.objects.create(project=other_project, name="code")
    body = {"method": "ppo", "threshold": 300, "gate": "figures"}

    changed = as_manager.patch("/api/v1/loops/harbour/", body, content_type="application/json")
    refused = [
        as_manager.patch("/api/v1/loops/harbour/", wrong, content_type="application/json")
        for wrong in ({"random_share": 0}, {"gate": "people", "gate_votes": 900}, {"slice": slice.pk})
    ]

    assert (changed.status_code, changed.json()["settings"]["method"]) == (200, "ppo")
    event = AuditEvent.objects.get(verb="loop.edit")
    assert (event.actor.username, event.after) == ("mia", {"method": "ppo", "threshold": 300, "gate": "figures"})
    assert [(answer.status_code, list(answer.json())) for answer in refused] == [
        (400, ["random_share"]),
        (400, ["gate_votes"]),
        (400, ["slice"]),
    ]


def test_settings_of_runs_and_the_rule_of_freezes_are_objects_and_errors_say_what_is_allowed(as_manager, project):
    body = {"settings": {"ppo": {"kl_coef": 0.1, "alarm": "stop"}}, "rule": {"consensus": "strength"}}

    changed = as_manager.patch("/api/v1/loops/harbour/", body, content_type="application/json")
    refused = [
        as_manager.patch("/api/v1/loops/harbour/", wrong, content_type="application/json")
        for wrong in (
            {"settings": {"ppo": {"alarm": "halt"}}},
            {"settings": None},
            {"settings": {"ppo": {"base_model": "/etc"}}},
            {"rule": {"consensus": "median"}},
            {"rule": []},
        )
    ]

    assert {name: changed.json()["settings"][name] for name in body} == body
    assert AuditEvent.objects.get(verb="loop.edit").after == body
    assert list(Loop.objects.values("settings", "rule")) == [body]
    assert [(answer.status_code, answer.json()) for answer in refused] == [
        (400, {"settings": ["ppo: alarm must be one of warn, stop, off, got 'halt'"]}),
        (400, {"settings": ["This field may not be null."]}),
        (400, {"settings": ["ppo.base_model is not for a loop's settings: a round finds its models itself"]}),
        (400, {"rule": ["consensus must be one of majority, mean3, dawid_skene, soft, strength, got 'median'"]}),
        (400, {"rule": ['a rule is an object of its parts, such as {"consensus": "dawid_skene"}']}),
    ]


def test_a_pause_and_a_promotion_while_settings_are_changed_stay(project):
    loop = Loop.objects.create(project=project, state="running", gate="open")
    policy = make_checkpoint(project)
    serializer = LoopSettingsSerializer(loop, data={"threshold": 20}, partial=True)
    Loop.objects.update(state="paused", n_pairs=30, policy=policy)

    serializer.is_valid(raise_exception=True)
    serializer.save()

    assert list(Loop.objects.values_list("threshold", "state", "n_pairs", "policy")) == [(20, "paused", 30, policy.pk)]


def test_a_loop_goes_back_to_a_promoted_policy_only(as_manager, project):
    stranger = make_checkpoint(project)

    answer = post(as_manager, "/api/v1/loops/harbour/rollback/", {"policy": stranger.pk})

    assert (answer.status_code, "was not promoted in Harbour" in answer.json()["detail"]) == (409, True)


def test_going_back_to_a_policy_of_another_project_answers_as_to_one_that_is_not_there(
    as_manager, project, other_project
):
    foreign = make_checkpoint(other_project, name="secret-policy")

    answers = [
        post(as_manager, "/api/v1/loops/harbour/rollback/", {"policy": pk}) for pk in (foreign.pk, foreign.pk + 1)
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    said = [answer.text.replace(str(foreign.pk + n), "N") for n, answer in enumerate(answers)]
    assert said[0] == said[1]
    assert "secret-policy" not in said[0]


def test_loops_of_others_are_not_there(as_stranger, as_labeler, project):
    answers = [client.post("/api/v1/loops/harbour/start/") for client in (as_stranger, as_labeler)]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_a_reward_model_is_held_against_people(as_manager, as_stranger, project, labeler):
    reward_model = make_checkpoint(project, kind="reward")
    scored, missing = make_comparison(project), make_comparison(project)
    for pair in (scored, missing):
        judge(pair, labeler)
    score(reward_model, scored, -1.0)
    address = f"/api/v1/checkpoints/{reward_model.pk}/"

    board = as_manager.get(f"{address}board/").json()

    line = {"n": 1, "right": 0.0, "low": 0.0, "high": pytest.approx(0.793, abs=1e-3), "n_votes": 2, "ties": 0.0}
    assert board == {
        "reward_model": reward_model.pk,
        "whole": {"name": "all", **line},
        "parts": {
            "strength": [{"name": "better", **line}],
            "policy": [],
            "slice": [],
            "labeler": [{"name": "leo", **line}],
        },
        "n_unscored": 1,
    }
    assert as_manager.post(f"{address}score/").json()["kind"] == "score"
    assert as_stranger.get(f"{address}board/").status_code == 404
    policy = make_checkpoint(project)
    assert as_manager.get(f"/api/v1/checkpoints/{policy.pk}/board/").status_code == 404


def test_models_are_rebuilt_without_a_labeler_of_the_project(as_manager, project, labeler, stranger):
    policy = make_checkpoint(project)
    address = "/api/v1/loops/harbour/rebuild/"
    assert post(as_manager, address, {"labeler": stranger.username}).status_code == 400

    answer = post(as_manager, address, {"labeler": "leo", "because": "he guessed"})

    round = Round.objects.get()
    assert (answer.status_code, answer.json()["round"]) == (200, round.pk)
    assert (round.base, round.terms["rule"]["exclude_labelers"]) == (policy, ["leo"])
    again = post(as_manager, address, {"labeler": "leo"})
    assert (again.status_code, "is running" in again.json()["detail"]) == (409, True)
