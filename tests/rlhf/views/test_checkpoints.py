from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse

from labeling.models import AuditEvent, Prompt
from rlhf.contract.run_dir import sealed_folder, verify_sealed
from rlhf.domain.checkpoints import checkpoint_folder
from rlhf.models import Checkpoint, Sample
from tests.rlhf.conftest import make_checkpoint, make_comparison, make_dataset, make_run
from tests.rlhf.contract.test_model_folder import pack

NEW = "/checkpoints/new/"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(pack({"embed": [4, 2]}))
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


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("token_scorer.json", {"opening": [1]}),
        ("config.json", {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}),
    ],
)
def test_a_model_that_gives_scores_is_no_policy(as_admin, project, model_folder, name, document):
    (model_folder / name).write_text(json.dumps(document))

    refused, taken = (as_admin.post(NEW, describe(model_folder, kind=kind)) for kind in ("policy", "reward"))

    assert (refused.status_code, taken.status_code) == (422, 302)
    assert "gives scores and writes nothing: register it as a reward model" in refused.text
    assert Checkpoint.objects.get().kind == "reward"
    event = AuditEvent.objects.get(verb="checkpoint.register")
    assert (event.actor.is_superuser, event.after["kind"]) == (True, "reward")


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


@pytest.fixture
def trained(project):
    """A sealed model with an adapter beside it, made by a run."""
    dataset = make_dataset(project)
    result = {"eval_accuracy": 0.7, "eval_accuracy_low": 0.6, "eval_accuracy_high": 0.8, "usage": {}, "slices": []}
    run = make_run(project, kind="dpo", state="succeeded", dataset=dataset, result=result)
    run.config["beta"] = 0.3
    run.save()
    checkpoint = make_checkpoint(project, name="tuned", run=run, parent=make_checkpoint(project, name="first"))
    with sealed_folder(Path(settings.PREFLOOP_HOME) / checkpoint.path) as part:
        (part / "model.safetensors").write_bytes(b"w" * 700_000)
        (part / "adapter").mkdir()
        (part / "adapter" / "adapter_model.safetensors").write_bytes(b"a" * 512)
    sha256 = verify_sealed(checkpoint_folder(checkpoint))
    Checkpoint.objects.filter(pk=checkpoint.pk).update(manifest_sha256=sha256)
    checkpoint.refresh_from_db()
    return checkpoint


def test_a_model_is_downloaded_whole_with_its_card(as_manager, manager, trained):
    answer = as_manager.get(f"{trained.get_absolute_url()}model.tar")

    content = b"".join(answer.streaming_content)
    assert int(answer["Content-Length"]) == len(content)
    assert answer["Content-Disposition"] == 'attachment; filename="tuned.tar"'
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}
    folder = checkpoint_folder(trained)
    assert files == {
        "tuned/README.md": files["tuned/README.md"],
        "tuned/adapter/adapter_model.safetensors": b"a" * 512,
        "tuned/manifest.json": (folder / "manifest.json").read_bytes(),
        "tuned/model.safetensors": b"w" * 700_000,
    }
    assert hashlib.sha256(files["tuned/manifest.json"]).hexdigest() == trained.manifest_sha256
    event = AuditEvent.objects.get(verb="checkpoint.download")
    assert (event.actor, event.subject, event.after) == (manager, "tuned", {"manifest_sha256": trained.manifest_sha256})


def test_a_card_that_a_run_has_published_stays_as_it_is_and_lineage_lies_beside_it(as_manager, trained):
    folder = Path(settings.PREFLOOP_HOME) / trained.path
    with sealed_folder(folder) as part:
        (part / "README.md").write_bytes(b"# A policy by dpo\n")
    sha256 = verify_sealed(folder)
    Checkpoint.objects.filter(pk=trained.pk).update(manifest_sha256=sha256)

    answer = as_manager.get(f"{trained.get_absolute_url()}model.tar")

    with tarfile.open(fileobj=io.BytesIO(b"".join(answer.streaming_content))) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}
        assert len(tar.getnames()) == len(files) == 3
    assert files["tuned/README.md"] == b"# A policy by dpo\n"
    lineage = files["tuned/LINEAGE.md"].decode()
    dataset = trained.run.dataset
    assert f"2. tuned: DPO on {dataset} (sha256 `{dataset.sha256}`, 2 rows)" in lineage
    assert f"sha256 `{sha256}`" in lineage
    assert "## Measured" not in lineage


def test_the_card_tells_lineage_data_settings_and_figures(as_manager, trained):
    card = as_manager.get(trained.get_absolute_url()).context["card"]

    dataset = trained.run.dataset
    assert card.splitlines()[:5] == [
        "---",
        'library_name: "transformers"',
        'pipeline_tag: "text-generation"',
        'tags: ["prefloop", "dpo"]',
        "---",
    ]
    assert "1. first: registered from a folder" in card
    assert f"2. tuned: DPO on {dataset} (sha256 `{dataset.sha256}`, 2 rows)" in card
    assert '```json\n{\n "beta": 0.3\n}\n```' in card
    assert "| eval_accuracy | 0.700 (0.600 to 0.800) |" in card
    assert f"sha256 `{trained.manifest_sha256}`" in card
    assert "usage" not in card


def test_a_damaged_model_is_not_handed_out(as_manager, trained):
    (checkpoint_folder(trained) / "model.safetensors").write_bytes(b"x" * 700_000)

    answer = as_manager.get(f"{trained.get_absolute_url()}model.tar")

    assert answer.status_code == 410
    assert "is damaged" in answer.text
    assert not AuditEvent.objects.filter(verb="checkpoint.download").exists()


@pytest.mark.parametrize(("who", "status"), [("as_stranger", 404), ("as_labeler", 404)])
def test_a_model_is_for_the_managers_of_its_project(request, who, status, trained):
    answer = request.getfixturevalue(who).get(f"{trained.get_absolute_url()}model.tar")

    assert answer.status_code == status
