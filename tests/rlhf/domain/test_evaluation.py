"""An evaluation is planned on pairs, texts and tasks that nobody learned from."""

from __future__ import annotations

import json

import pytest

from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.run_dir import sealed_folder, verify_sealed
from rlhf.domain.errors import ModelRefused, NotReady
from rlhf.domain.evaluation import find_evaluation, plan_evaluation, write_measures
from rlhf.domain.planning import plan_run
from rlhf.domain.provisioning import resolve_config
from rlhf.models import Loop, Run
from tests.rlhf.conftest import make_checkpoint, make_dataset, make_round, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def baseline(project):
    return make_checkpoint(project, name="sft")


@pytest.fixture
def candidate(project, baseline):
    return make_checkpoint(project, name="dpo", parent=baseline)


def test_it_takes_the_newest_held_out_pairs_and_the_newest_reward_model(project, candidate, baseline):
    make_dataset(project, n_test=3)
    newest = make_dataset(project, n_test=2)
    make_dataset(project, n_test=0)
    make_dataset(project, kind="benchmark", n_train=0, n_test=2)
    make_checkpoint(project, kind="reward")
    reward_model = make_checkpoint(project, kind="reward")
    texts = make_dataset(project, kind="text", n_test=2)

    run = plan_evaluation(candidate, baseline=baseline)

    assert (run.kind, run.base, run.dataset, run.reward_model) == ("evaluate", candidate, newest, reward_model)
    assert (run.other, run.config["reference_model"]) == (baseline, "")
    assert (run.config["texts"], run.config["demonstrations"]) == (texts.pk, 0)


def test_a_round_is_evaluated_by_the_terms_it_was_begun_with(project, candidate, baseline):
    make_dataset(project)
    Loop.objects.create(project=project, settings={"evaluate": {"n_prompts": 7}})
    round = make_round(project, terms={"settings": {"evaluate": {"n_prompts": 5}}})

    of_round = plan_evaluation(candidate, baseline=baseline, round=round)
    by_hand = plan_evaluation(candidate, baseline=baseline)

    assert (of_round.config["n_prompts"], by_hand.config["n_prompts"]) == (5, 7)


def test_a_dataset_without_held_out_pairs_is_passed_over(project, candidate, baseline):
    with_pairs, without = make_dataset(project, n_test=2), make_dataset(project, n_test=0)

    assert plan_evaluation(candidate, baseline=baseline, dataset=without).dataset == with_pairs


def test_without_any_held_out_pairs_it_says_what_to_do(candidate, baseline):
    with pytest.raises(NotReady, match="no held-out pairs to measure on: freeze its judgments at /datasets/"):
        plan_evaluation(candidate, baseline=baseline)


def test_what_it_reads_is_the_held_out_part_and_the_tasks(project, candidate, baseline, tmp_path):
    make_dataset(project)
    make_dataset(project, kind="text", n_train=5, n_test=4)
    run = plan_evaluation(candidate, baseline=baseline)
    run.config["n_texts"] = 3

    write_measures(run, tmp_path)

    texts = [json.loads(line)["text"] for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert [text.rpartition("row ")[2] for text in texts] == ["5", "6", "7"]
    assert len((tmp_path / "tasks.jsonl").read_text().splitlines()) == 160
    assert not (tmp_path / "demonstrations.jsonl").exists()


def test_a_dataset_of_another_project_is_not_read(project, other_project, candidate, baseline, tmp_path):
    make_dataset(project)
    run = plan_evaluation(candidate, baseline=baseline)
    run.config["texts"] = make_dataset(other_project, kind="text").pk

    with pytest.raises(NotReady, match="is no pre-training text dataset of Harbour"):
        write_measures(run, tmp_path)


def test_the_newest_one_that_succeeded_against_that_baseline_is_found(project, candidate, baseline):
    make_dataset(project)
    runs = [plan_evaluation(candidate, baseline=baseline) for _ in range(3)]
    Run.objects.filter(pk__in=[run.pk for run in runs[:2]]).update(
        state="succeeded", finished_at=runs[0].created_at, attempt=1
    )

    assert find_evaluation(candidate, baseline=baseline) == runs[1]
    assert find_evaluation(candidate, baseline=make_checkpoint(project)) is None


def test_a_test_set_is_evaluated_on_and_a_policy_is_measured_against_its_parent(
    project, candidate, baseline, settings, tmp_path
):
    settings.PREFLOOP_HOME = tmp_path
    (tmp_path / baseline.path).mkdir(parents=True)
    dataset = make_dataset(project, kind="benchmark", n_train=0, n_test=2)
    reward_model = make_checkpoint(project, kind="reward")

    run = plan_run(project, EvaluateConfig(), dataset=dataset, base=candidate)

    assert (run.dataset, run.reward_model) == (dataset, reward_model)
    assert (run.other, run.config["reference_model"]) == (baseline, "")


def test_an_evaluation_is_found_and_its_reference_verified_wherever_the_models_lie(
    project, candidate, baseline, settings, tmp_path
):
    make_dataset(project)
    run = plan_evaluation(candidate, baseline=baseline)
    Run.objects.filter(pk=run.pk).update(state="succeeded", finished_at=run.created_at, attempt=1)
    settings.PREFLOOP_HOME = tmp_path
    for checkpoint in (candidate, baseline):
        with sealed_folder(tmp_path / checkpoint.path) as part:
            (part / "config.json").write_text("{}")
        checkpoint.manifest_sha256 = verify_sealed(tmp_path / checkpoint.path)

    assert find_evaluation(candidate, baseline=baseline) == run
    assert resolve_config(run).reference_model == str(tmp_path / baseline.path)

    (tmp_path / baseline.path / "config.json").write_text("[]")
    with pytest.raises(ModelRefused, match="sft is damaged"):
        resolve_config(run)


def test_an_evaluation_that_knows_its_baseline_by_folder_alone_is_found(project, candidate, baseline):
    run = make_run(project, kind="evaluate", state="succeeded", base=candidate)
    run.config["reference_model"] = f"/of/another/host/{baseline.path}"
    run.save()

    assert find_evaluation(candidate, baseline=baseline) == run
    assert find_evaluation(candidate, baseline=make_checkpoint(project)) is None


def test_a_held_out_reward_model_is_named_not_pathed(project, candidate, baseline):
    make_dataset(project)
    run = plan_evaluation(candidate, baseline=baseline)
    run.base = run.other = None
    run.config["heldout_model"] = "/etc"

    with pytest.raises(ModelRefused, match="Harbour has no reward model named /etc"):
        resolve_config(run)
