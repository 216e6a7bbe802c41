from __future__ import annotations

import json

import pytest
from django.urls import reverse

from labeling.models import Prompt
from rlhf.contract.run_dir import verify_sealed
from rlhf.domain.checkpoints import checkpoint_folder
from rlhf.models import Checkpoint, Sample
from tests.rlhf.conftest import make_checkpoint, make_comparison, make_run

NEW = "/checkpoints/new/"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def describe(folder, **changes):
    return {"project": "harbour", "folder": str(folder), "name": "mine", "kind": "policy"} | changes


def test_the_chain_goes_from_the_model_to_the_first(as_manager, project):
    first = make_checkpoint(project, name="first")
    second = make_checkpoint(project, name="second", parent=first, run=make_run(project, kind="sft", state="succeeded"))
    third = make_checkpoint(project, name="third", parent=second)

    answer = as_manager.get(second.get_absolute_url())

    assert answer.context["chain"] == [second, first]
    assert list(answer.context["children"]) == [third]


def test_samples_are_shown_as_text(as_manager, project):
    make_comparison(project)
    checkpoint = make_checkpoint(project)
    Sample.objects.create(
        run=make_run(project, kind="sample", state="succeeded"),
        checkpoint=checkpoint,
        prompt=Prompt.objects.get(),
        index=0,
        text="<img src=x onerror=alert(1)>",
        n_tokens=5,
        finished=False,
        decoding={"temperature": 0.9},
        seed=3,
    )

    answer = as_manager.get(checkpoint.get_absolute_url())

    assert "<bdi>&lt;img src=x onerror=alert(1)&gt;</bdi>" in answer.text
    assert "temperature 0.9, seed 3, 5 tokens, cut off" in answer.text


@pytest.mark.parametrize(
    ("kind", "links"),
    [
        ("policy", ["kind=dpo", "kind=sft", "kind=reward"]),
        ("reward", ["kind=ppo&amp;project=harbour&amp;reward_model="]),
    ],
)
def test_a_checkpoint_leads_to_the_runs_it_can_start(as_manager, project, kind, links):
    checkpoint = make_checkpoint(project, kind=kind)

    answer = as_manager.get(checkpoint.get_absolute_url())

    assert all(link in answer.text for link in links)
    assert ("kind=dpo" in answer.text) == (kind == "policy")


def test_a_folder_of_ones_own_is_copied_and_sealed(as_admin, project, model_folder):
    answer = as_admin.post(NEW, describe(model_folder))

    checkpoint = Checkpoint.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, checkpoint.get_absolute_url())
    assert (checkpoint.project, checkpoint.name, checkpoint.run) == (project, "mine", None)
    assert verify_sealed(checkpoint_folder(checkpoint)) == checkpoint.manifest_sha256


def test_a_model_that_brings_code_is_refused(as_admin, project, model_folder):
    (model_folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))

    answer = as_admin.post(NEW, describe(model_folder))

    assert answer.status_code == 422
    assert "names code to run (auto_map)" in answer.text
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize("folder", ["models/mine", "/no/such/folder"])
def test_what_is_no_folder_of_the_server_is_refused(as_admin, project, folder):
    answer = as_admin.post(NEW, describe(folder))

    assert answer.status_code == 422
    assert "is not a folder on the server" in answer.text


def test_a_manager_cannot_register_a_folder(as_manager, project, model_folder):
    answer = as_manager.post(reverse("rlhf:checkpoint-create"), describe(model_folder))

    assert answer.status_code == 404
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize("n_checkpoints", [1, 3])
def test_the_list_takes_as_many_queries_for_three_models_as_for_one(
    as_manager, project, n_checkpoints, django_assert_num_queries
):
    parent = None
    for _ in range(n_checkpoints):
        parent = make_checkpoint(project, parent=parent, run=make_run(project, kind="sft", state="succeeded"))

    with django_assert_num_queries(6):
        as_manager.get("/checkpoints/")
