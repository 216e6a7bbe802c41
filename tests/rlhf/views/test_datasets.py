from __future__ import annotations

import io
import json
import re

import pyarrow.parquet
import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from labeling.models import AuditEvent, User
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.datasets.test_sets import import_benchmark
from rlhf.models import Dataset
from tests.rlhf.conftest import judge, make_comparison, make_dataset, make_run, message

NEW = "/datasets/new/"
RULE = {"name": "first", "include": ["own"], "min_judgments": 1, "test_share": 0.5, "seed": 7} | dict.fromkeys(
    ["use_extra", "use_hasty", "use_fixes"], "on"
)


def test_judgments_are_frozen_by_the_rule_of_the_form(as_manager, manager, project, labeler):
    for _ in range(4):
        judge(make_comparison(project), labeler)

    answer = as_manager.post(f"{NEW}?kind=preference&project=harbour", RULE | {"use_margin": "on", "note": "try"})

    dataset = Dataset.objects.get()
    rule = FreezeRule(test_share=0.5, seed=7, use_margin=True, note="try")
    assert (answer.status_code, answer["Location"]) == (302, dataset.get_absolute_url())
    assert (dataset.name, dataset.kind, dataset.created_by) == ("first", "preference", manager)
    assert FreezeRule.from_json(dataset.rule) == rule
    assert dataset.n_train + dataset.n_test == 4
    event = AuditEvent.objects.get(verb="dataset.freeze")
    assert (event.actor, event.subject, event.after["sha256"]) == (manager, str(dataset), dataset.sha256)


def test_the_form_offers_every_part_of_the_rule(as_manager, project, labeler):
    for _ in range(4):
        judge(make_comparison(project), labeler)
    said = {
        **{"name": "first", "include": ["own"], "consensus": "dawid_skene", "soft": "on", "min_judgments": 1},
        **{"test_share": 0.5, "seed": 7, "guideline_from": "", "exclude_labelers": f"{project.slug}-nobody"},
        **{"labeler_share_max": "1", "use_extra": "on", "use_quarantined": "on", "use_gold": "on"},
    }
    User.objects.create(username=f"{project.slug}-nobody")

    answer = as_manager.post(f"{NEW}?kind=preference", said)

    assert answer.status_code == 302
    assert FreezeRule.from_json(Dataset.objects.get().rule) == FreezeRule(
        consensus="dawid_skene",
        soft=True,
        test_share=0.5,
        seed=7,
        exclude_labelers=(f"{project.slug}-nobody",),
        labeler_share_max=1,
        use_hasty=False,
        use_fixes=False,
        use_quarantined=True,
        use_gold=True,
    )
    parts = {field for field in FreezeRule().to_json() if field not in ("upto", "after")}
    assert parts <= set(as_manager.get(f"{NEW}?kind=preference").context["form"].fields)


def test_nothing_to_freeze_is_refused_with_what_to_do(as_manager, project):
    answer = as_manager.post(f"{NEW}?kind=preference", RULE)

    assert answer.status_code == 422
    assert "Harbour has no judgments" in answer.text
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"test_share": "0.95"}, "test_share"),
        ({"test_share": "nan"}, "test_share"),
        ({"min_judgments": "0"}, "min_judgments"),
        ({"include": ["imported:elsewhere"]}, "include"),
        ({"include": []}, "include"),
        ({"name": ""}, "name"),
        ({"consensus": "mode"}, "consensus"),
        ({"soft": "on"}, "soft"),
        ({"labeler_share_max": "1.5"}, "labeler_share_max"),
        ({"guideline_from": "-1"}, "guideline_from"),
    ],
)
def test_an_impossible_rule_is_refused_beside_its_part(as_manager, project, changes, field):
    answer = as_manager.post(f"{NEW}?kind=preference", RULE | changes)

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"exclude_labelers": "mallory"}, "exclude_labelers", "names nobody of Harbour: mallory"),
        ({"labeler_share_max": "0.1"}, "labeler_share_max", "cannot be kept by 1 labelers"),
    ],
)
def test_a_rule_the_votes_cannot_keep_is_refused_beside_its_part(as_manager, project, labeler, changes, field, words):
    judge(make_comparison(project), labeler)

    answer = as_manager.post(f"{NEW}?kind=preference", RULE | changes)

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert words in answer.context["form"].errors[field][0]


def test_the_detail_says_hash_sizes_rule_and_rows_as_text(as_manager, project):
    hostile = "<script>alert(1)</script> \u202eevil"
    dataset = make_dataset(project, n_train=2, n_test=1)
    dangerous = freeze_hostile(project, hostile)
    run = make_run(project, kind="reward", state="succeeded", dataset=dangerous)

    answer = as_manager.get(dangerous.get_absolute_url())

    assert dangerous.sha256 in answer.text
    assert dangerous.sha256 != dataset.sha256
    assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt; \u202eevil</bdi>" in answer.text
    assert "<script>alert" not in answer.text
    assert f'href="{run.get_absolute_url()}"' in answer.text
    assert answer.context["rule"] == [("made of", "our own labelers"), ("share held out for tests", "10%")]
    assert answer.context["counts"] == [("pairs", "1"), ("votes", "our own labelers 2, hh (imported) 1")]


def freeze_hostile(project, text):
    row = {"prompt": [message(text)], "chosen": [message(text, "assistant")], "rejected": [message("no", "assistant")]}
    rule = {"include": ["own"], "test_share": 0.1}
    counts = {"pairs": 1, "ties": 0, "votes": {"own": 2, "imported:hh": 1}}
    return freeze_rows(project, kind="preference", name="hostile", train=[row], test=[], rule=rule, counts=counts)


def test_the_jsonl_download_is_the_frozen_bytes(as_manager, project):
    dataset = make_dataset(project, n_train=3, n_test=1)

    answer = as_manager.get(reverse("rlhf:dataset-download", args=[dataset.pk, "train", "jsonl"]))

    with default_storage.open(dataset.file_name("train")) as file:
        assert answer.getvalue() == file.read()
    assert answer["Content-Disposition"].startswith("attachment")


def test_the_parquet_download_holds_the_same_rows(as_manager, project):
    dataset = make_dataset(project, n_train=3, n_test=1)

    answer = as_manager.get(reverse("rlhf:dataset-download", args=[dataset.pk, "test", "parquet"]))

    table = pyarrow.parquet.read_table(io.BytesIO(answer.getvalue()))
    assert table.to_pylist() == list(open_split(dataset, "test"))


def test_every_download_is_in_the_audit_trail(as_manager, as_labeler, manager, project):
    dataset = make_dataset(project, n_train=3, n_test=0)

    for split, format in [("train", "jsonl"), ("train", "parquet"), ("test", "jsonl"), ("train", "csv")]:
        as_manager.get(f"/datasets/{dataset.pk}/{split}.{format}")
    as_manager.head(f"/datasets/{dataset.pk}/train.jsonl")
    as_labeler.get(f"/datasets/{dataset.pk}/train.jsonl")

    events = AuditEvent.objects.filter(verb="dataset.download").order_by("id")
    assert [(event.actor, event.project, event.subject, event.after) for event in events] == [
        (manager, project, str(dataset), {"split": "train", "format": format, "sha256": dataset.train_sha256})
        for format in ("jsonl", "parquet")
    ]


@pytest.mark.parametrize(("split", "format"), [("test", "jsonl"), ("train", "csv"), ("other", "jsonl")])
def test_what_there_is_not_cannot_be_downloaded(as_manager, project, split, format):
    dataset = make_dataset(project, n_test=0)

    assert as_manager.get(f"/datasets/{dataset.pk}/{split}.{format}").status_code == 404


def test_downloads_are_the_managers_alone(as_labeler, as_stranger, project):
    address = reverse("rlhf:dataset-download", args=[make_dataset(project).pk, "train", "jsonl"])

    assert [client.get(address).status_code for client in (as_labeler, as_stranger)] == [404, 404]


def test_damaged_bytes_are_told_and_not_shown(as_manager, project):
    dataset = make_dataset(project, n_train=1, n_test=0)
    with default_storage.open(dataset.file_name("train"), "wb") as file:
        file.write(b'{"prompt": []}\n')

    answer = as_manager.get(dataset.get_absolute_url())

    assert "does not match its hash any more" in answer.text
    assert "rows" not in answer.context


@pytest.mark.parametrize("n_datasets", [1, 3])
def test_the_list_takes_as_many_queries_for_three_datasets_as_for_one(
    as_manager, project, n_datasets, django_assert_num_queries
):
    for _ in range(n_datasets):
        make_dataset(project)

    with django_assert_num_queries(6):
        as_manager.get("/datasets/")


def test_a_test_set_shows_its_pairs_and_offers_nothing_but_evaluations(as_manager, project, tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"prompt": "How deep?", "chosen": "Ten metres.", "rejected": "Deep.", "subset": "chat"}))
    dataset = import_benchmark(project, path)

    page = as_manager.get(dataset.get_absolute_url()).content.decode()

    assert "Ten metres." in page
    assert "the file bench.jsonl" in page
    assert re.findall(r"runs/new/\?kind=(\w+)", page) == ["evaluate"]
    assert "train.jsonl" not in page
    form = as_manager.get(f"/runs/new/?kind=evaluate&project=harbour&dataset={dataset.pk}").content.decode()
    assert f'<option value="{dataset.pk}" selected>bench</option>' in form


def test_a_damaged_test_set_refuses_the_freeze_with_words(as_manager, project, labeler, tmp_path):
    judge(make_comparison(project), labeler)
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"prompt": "How deep?", "chosen": "Ten.", "rejected": "Deep."}) + "\n")
    benchmark = import_benchmark(project, path)
    with default_storage.open(benchmark.file_name("test"), "wb") as file:
        file.write(b"damaged")

    page = as_manager.get(f"{NEW}?kind=preference&project=harbour")
    answer = as_manager.post(f"{NEW}?kind=preference&project=harbour", RULE)

    assert (page.status_code, answer.status_code) == (200, 422)
    assert "does not match its hash" in answer.content.decode()
