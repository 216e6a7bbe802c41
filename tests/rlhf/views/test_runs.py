from __future__ import annotations

import json

import pytest
from django.urls import reverse

from labeling.models import AuditEvent
from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.planning import PLANNED
from rlhf.forms.runs import JUDGE, RunForm
from rlhf.models import Run
from rlhf.views.runs import MAX_METRIC_ROWS, read_metrics
from tests.rlhf.conftest import log_metrics, make_checkpoint, make_dataset, make_run

NEW = "/runs/new/"


def settings_of(kind, **changes):
    """What a browser sends when the form is sent as it comes, but for some changes."""
    config = CONFIGS[kind]()
    values = {name: value for name, value in vars(config).items() if not name.endswith("_model") or name == JUDGE}
    return values | changes


@pytest.mark.parametrize("kind", [kind for kind, _ in PLANNED])
def test_every_kind_has_a_form_with_its_settings_and_their_help(as_manager, project, kind):
    answer = as_manager.get(NEW, {"kind": kind})

    form = answer.context["form"]
    names = [name for group in form.groups for name in (field.name for field in group.visible_fields)]
    assert answer.status_code == 200
    assert sorted(set(names) - {"dataset", "base", "reward_model", "other"}) == sorted(settings_of(kind))
    assert all(form.fields[name].help_text for name in names)


@pytest.mark.parametrize("kind", [kind for kind, _ in PLANNED])
def test_no_form_asks_for_a_path(as_manager, project, kind):
    fields = as_manager.get(NEW, {"kind": kind}).context["form"].fields

    assert not {"base_model", "reference_model"} & set(fields)
    # Rewards are named with their weights; a name is one of a list, never where something lies.
    free_texts = {name for name, field in fields.items() if field.__class__.__name__ == "CharField"}
    assert free_texts == ({"rewards"} if kind in ("ppo", "grpo") else set())


@pytest.mark.parametrize("kind", [kind for kind, _ in PLANNED])
def test_defaults_sent_back_are_the_kinds_defaults(as_manager, project, kind):
    form = RunForm(settings_of(kind), project=project, kind=kind)

    assert form.is_valid(), form.errors
    assert form.cleaned_data["config"] == CONFIGS[kind]()


@pytest.mark.django_db(transaction=True)
def test_a_run_is_queued_with_what_was_chosen(as_manager, manager, project):
    dataset, base = make_dataset(project), make_checkpoint(project)
    make_checkpoint(project, name="newer")
    chosen = settings_of("dpo", beta=0.3, dataset=dataset.pk, base=base.pk)

    answer = as_manager.post(f"{NEW}?kind=dpo&project=harbour", chosen)

    run = Run.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, run.get_absolute_url())
    assert (run.kind, run.state, run.dataset, run.base, run.created_by) == ("dpo", "queued", dataset, base, manager)
    assert run.load_config() == DPOConfig(beta=0.3)
    event = AuditEvent.objects.get(verb="run.start")
    assert (event.actor, event.subject, event.after["config"]["beta"]) == (manager, str(run), 0.3)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"beta": "-0.1"}, "beta", "beta must be &gt; 0, got -0.1"),
        ({"beta": "much"}, "beta", "Enter a number."),
        ({"beta": "nan"}, "beta", "Enter a number."),
        ({"loss_type": "hope"}, "loss_type", "Select a valid choice."),
        ({"label_smoothing": "0.2"}, "label_smoothing", "label_smoothing acts on loss_type=robust only"),
    ],
)
def test_an_invalid_setting_is_refused_beside_its_field(as_manager, project, changes, field, message):
    answer = as_manager.post(f"{NEW}?kind=dpo", settings_of("dpo", **changes))

    assert answer.status_code == 422
    assert f'id="id_{field}_error"' in answer.text
    assert message in answer.text
    assert not Run.objects.exists()


def test_settings_that_contradict_each_other_are_refused(as_manager, project):
    answer = as_manager.post(f"{NEW}?kind=pretrain", settings_of("pretrain", hidden_size=100, n_heads=6))

    assert answer.status_code == 422
    assert "hidden_size must be n_heads times an even number" in answer.text


def test_a_run_without_anything_to_start_from_is_refused_with_the_reason(as_manager, project):
    answer = as_manager.post(f"{NEW}?kind=dpo", settings_of("dpo"))

    assert answer.status_code == 422
    assert "Harbour has no policy to start from" in answer.text


def test_another_projects_dataset_and_model_are_no_choice(as_admin, project, other_project):
    foreign = {"dataset": make_dataset(other_project).pk, "base": make_checkpoint(other_project).pk}

    answer = as_admin.post(f"{NEW}?kind=dpo&project=harbour", settings_of("dpo", **foreign))

    assert answer.status_code == 422
    assert sorted(answer.context["form"].errors) == ["base", "dataset"]


@pytest.mark.parametrize("asked", ["kind=magic", "kind=dpo&project=island", "kind=dpo&project=nowhere"])
def test_a_kind_or_project_that_is_not_there_is_not_found(as_manager, project, other_project, asked):
    make_checkpoint(project)

    answers = [as_manager.get(f"{NEW}?{asked}"), as_manager.post(f"{NEW}?{asked}", settings_of("dpo"))]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not Run.objects.exists()


def test_a_link_from_a_checkpoint_fills_the_form(as_manager, project):
    checkpoint = make_checkpoint(project)

    answer = as_manager.get(NEW, {"kind": "dpo", "project": "harbour", "base": checkpoint.pk})

    assert f'<option value="{checkpoint.pk}" selected>' in answer.text


def test_the_detail_shows_result_interval_and_baselines(as_manager, project):
    result = {"eval_accuracy": 0.71, "eval_accuracy_low": 0.66, "eval_accuracy_high": 0.75}
    result |= {"baseline_longer": 0.52, "baseline_longer_low": 0.47, "baseline_longer_high": 0.57, "n_test": 310}
    result |= {"eval_accuracy_reweighted": 0.8, "n_reweighted": 41, "n_effective": 33.4}
    run = make_run(project, kind="reward", state="succeeded", result=result)

    answer = as_manager.get(run.get_absolute_url())

    assert "0.660 to 0.750" in answer.text
    assert "“the longer is better”" in answer.text
    assert "Over 41 held-out pairs that chance picked" in answer.text
    assert "Better than “the longer is better”" in answer.text
    assert 'hx-get="/projects/harbour/quality/ceiling/" hx-trigger="load"' in answer.text


def test_the_other_model_of_an_evaluation_is_what_it_was_measured_against(as_manager, project):
    sft = make_checkpoint(project, name="sft", kind="policy")
    evaluated, merged = (make_run(project, kind=kind, state="succeeded", other=sft) for kind in ("evaluate", "merge"))

    assert "<dt>Measured against</dt>" in as_manager.get(evaluated.get_absolute_url()).text
    assert "<dt>Merged with</dt>" in as_manager.get(merged.get_absolute_url()).text


def test_the_cause_of_a_failure_and_the_log_are_shown_as_text(as_manager, project):
    run = make_run(project, state="failed", cause="<b>non-finite</b> loss at step 12")
    run_folder(run).mkdir(parents=True)
    (run_folder(run) / "learning.log").write_text("\n".join(f"line {n} <script>" for n in range(150)))

    answer = as_manager.get(run.get_absolute_url())

    assert "&lt;b&gt;non-finite&lt;/b&gt; loss at step 12" in answer.text
    assert "line 50 &lt;script&gt;" in answer.text
    assert "line 49 " not in answer.text
    assert "<script>\n" not in answer.text


def test_the_tokens_a_run_learns_from_are_shown_as_text(as_manager, project):
    run = make_run(project, state="running")
    run_folder(run).mkdir(parents=True)
    tokens = [["<b>may</b>", 7, False], [" yes", 8, True], ["<|eos|>", 2, True]]
    rows = [{"name": "conversation 1", "n_tokens": 3, "n_learned": 2, "tokens": tokens}]
    preview = {"note": "The loss is on the marked tokens.", "counts": {"n_dropped": 1, "n_cut": 2}, "rows": rows}
    (run_folder(run) / "preview.json").write_text(json.dumps(preview))

    page = as_manager.get(run.get_absolute_url()).text

    assert (
        '<span title="7">&lt;b&gt;may&lt;/b&gt;</span><mark title="8"> yes</mark><mark title="2">&lt;|eos|&gt;</mark>'
        in page
    )
    assert "1 row did not fit and is left out. 2 lost their oldest turns." in page


def test_the_polled_piece_brings_table_and_log_along(as_manager, project):
    run = make_run(project, state="running", step=3, total_steps=10, eta_s=7.0)
    log_metrics(run, 3, loss=0.6)

    answer = as_manager.get(run.get_absolute_url(), headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert answer.text.count('hx-swap-oob="true"') == 2
    assert '<td class="number">0.6</td>' in answer.text


def test_polling_stops_when_the_run_is_over(as_manager, project):
    run = make_run(project, state="succeeded")

    assert as_manager.get(run.get_absolute_url(), headers={"HX-Request": "true"}).status_code == 286
    assert "hx-trigger" not in as_manager.get(run.get_absolute_url()).text


def test_charts_follow_the_metrics(as_manager, project):
    run = make_run(project, state="succeeded")
    log_metrics(run, 4, **{"loss": 0.4, "rewards/chosen": 1.0, "rewards/rejected": -1.0})

    answer = as_manager.get(run.get_absolute_url())

    assert [chart.title for chart in answer.context["charts"]] == ["loss", "rewards/chosen · rewards/rejected"]
    assert "loss: from 0.1 at step 1 to 0.4 at step 4</title>" in answer.text


def test_a_very_long_run_is_thinned_in_the_database(project):
    run = make_run(project, state="succeeded")
    log_metrics(run, 2 * MAX_METRIC_ROWS + 1, loss=1.0)

    steps = [step for step, _ in read_metrics(run)]

    assert len(steps) <= MAX_METRIC_ROWS
    assert steps[-1] == 2 * MAX_METRIC_ROWS + 1
    assert steps == sorted(steps)


def test_a_queued_run_is_cancelled_at_once(as_manager, manager, project):
    run = make_run(project)

    answer = as_manager.post(reverse("rlhf:run-cancel", args=[run.pk]))

    run.refresh_from_db()
    assert (answer.status_code, answer["Location"]) == (302, run.get_absolute_url())
    assert run.state == "cancelled"
    as_manager.post(reverse("rlhf:run-cancel", args=[run.pk]))
    event = AuditEvent.objects.get(verb="run.cancel")  # once: the second changed nothing
    assert (event.actor, event.subject) == (manager, str(run))


def test_a_running_run_is_asked_to_stop(as_manager, project):
    run = make_run(project, state="running")

    as_manager.post(reverse("rlhf:run-cancel", args=[run.pk]))

    run.refresh_from_db()
    page = as_manager.get(run.get_absolute_url())
    assert (run.state, run.cancel_requested_at is None) == ("running", False)
    assert "asked to stop" in page.text
    assert "Cancel the run" not in page.text


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, {"dpo", "sft"}),
        ({"kind": "sft"}, {"sft"}),
        ({"state": "queued"}, {"dpo"}),
        ({"project": "harbour", "kind": "dpo"}, {"dpo"}),
        ({"state": "imaginary"}, {"dpo", "sft"}),
    ],
)
def test_the_list_is_filtered(as_manager, project, asked, shown):
    make_run(project, kind="dpo", state="queued")
    make_run(project, kind="sft", state="failed")

    answer = as_manager.get("/runs/", asked)

    assert {run.kind for run in answer.context["page"]} == shown


def test_the_list_polls_while_a_run_is_not_over(as_manager, project):
    make_run(project, state="running")
    live = as_manager.get("/runs/?kind=dpo")
    Run.objects.update(state="failed", finished_at="2026-01-01T00:00Z")

    over = as_manager.get("/runs/?kind=dpo", headers={"HX-Request": "true"})

    assert 'hx-get="/runs/?kind=dpo" hx-trigger="every 2s"' in live.text
    assert over.status_code == 286


@pytest.mark.parametrize("n_runs", [1, 3])
def test_the_list_takes_as_many_queries_for_three_runs_as_for_one(
    as_manager, project, n_runs, django_assert_num_queries
):
    for _ in range(n_runs):
        make_run(project, state="failed")

    with django_assert_num_queries(7):
        as_manager.get("/runs/")


def test_the_form_says_what_the_run_will_cost_and_says_it_anew_when_a_setting_changes(as_manager, project):
    make_dataset(project, kind="text")
    first = as_manager.get(NEW, {"kind": "pretrain"})

    changed = as_manager.post(
        f"/runs/new/estimate/?kind=pretrain&project={project.slug}",
        settings_of("pretrain", hidden_size=12288, n_heads=96, intermediate_size=49152, n_layers=96),
    )

    assert "<strong>Estimate</strong> <span>fits: about" in first.content.decode()
    assert "<strong>Estimate</strong> <span>does not fit: about" in changed.content.decode()
    assert b"<html" not in changed.content
    assert not Run.objects.exists()


def test_settings_that_are_wrong_have_no_estimate(as_manager, project):
    answer = as_manager.post(
        f"/runs/new/estimate/?kind=pretrain&project={project.slug}", settings_of("pretrain", hidden_size=-1)
    )

    assert answer.content.strip() == b""


def test_only_a_manager_is_told_what_a_run_of_the_project_will_cost(as_labeler, as_stranger, project):
    address = f"/runs/new/estimate/?kind=pretrain&project={project.slug}"

    assert [client.post(address, {}).status_code for client in (as_labeler, as_stranger)] == [404, 404]


def test_a_runs_page_shows_what_was_thought_and_what_it_took(as_manager, project):
    estimate = {"memory_bytes": 3_100_000_000, "seconds": 240.0, "uncorrected_s": 240.0, "total_bytes": 16_000_000_000}
    usage = {"seconds": 300.0, "peak_memory_bytes": 2_900_000_000, "host": "here"}
    run = make_run(project, state="succeeded", estimate=estimate, result={"usage": usage})

    page = as_manager.get(run.get_absolute_url()).content.decode()

    assert "fits: about 3.1 GB of 16.0 GB, about 4 min" in page
    assert "took 2.9 GB and 5 min" in page
