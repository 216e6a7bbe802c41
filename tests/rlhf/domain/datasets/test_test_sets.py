"""Test sets made elsewhere: read by format, sealed, measured on, and kept out of everything that trains."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction

from labeling.domain.content import hash_messages
from labeling.domain.intake.refusals import FileRefused
from labeling.domain.pairing import add_prompt
from labeling.models import Completion, Demonstration, Import
from rlhf.contract.config import CONFIGS
from rlhf.domain.datasets.completions import freeze_demonstrations, freeze_texts
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import EmptyDataset, open_split
from rlhf.domain.datasets.test_sets import find_reserved, import_benchmark, list_known
from rlhf.domain.errors import NotReady
from rlhf.domain.planning import plan_run
from rlhf.domain.runs import create_run
from rlhf.domain.sampling import draw_prompts
from tests.rlhf.conftest import hash_of, judge, make_comparison, message
from tests.rlhf.domain.test_planning import make_sealed_checkpoint

pytestmark = pytest.mark.django_db
HH = Path(__file__).parents[5] / "shared" / "data" / "hh-rlhf-harmless-dev.jsonl.gz"

REWARDBENCH = [
    {"prompt": "How deep?", "chosen": "Ten metres.", "rejected": "Deep.", "subset": "chat-easy", "id": 1},
    {"prompt": "How wide?", "chosen": "A mile.", "rejected": "Wide.", "subset": "safety", "id": 2},
]


def write(tmp_path, rows, name="set.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(dataset):
    rows = list(open_split(dataset, "test"))
    return [
        (
            row["prompt"][-1]["content"],
            row["chosen"][0]["content"],
            row["rejected"][0]["content"],
            row.get("source", ""),
        )
        for row in rows
    ]


def test_rewardbench_rows_are_pairs_with_their_subset(project, tmp_path):
    dataset = import_benchmark(project, write(tmp_path, REWARDBENCH))

    assert read(dataset) == [
        ("How deep?", "Ten metres.", "Deep.", "chat-easy"),
        ("How wide?", "A mile.", "Wide.", "safety"),
    ]
    assert (dataset.kind, dataset.n_train, dataset.n_test, dataset.rule["format"]) == ("benchmark", 0, 2, "rewardbench")
    assert dataset.counts["subsets"] == {"chat-easy": 1, "safety": 1}


def test_several_right_or_wrong_completions_are_every_pair_of_them(project, tmp_path):
    row = {"prompt": "2 + 2?", "chosen": ["4", "four"], "rejected": ["5", "3", "22"], "subset": "Math"}

    dataset = import_benchmark(project, write(tmp_path, [row]))

    assert len(read(dataset)) == 6
    assert dataset.counts["prompts"] == 1


def test_hhh_rows_put_the_right_choice_over_the_wrong(project, tmp_path):
    rows = [
        {"input": "May I lie?", "targets": {"choices": ["Yes.", "Rather not."], "labels": [0, 1]}},
        {
            "input": "Human: Hi\n\nAssistant: Hello.\n\nHuman: May I lie?\n\nAssistant:",
            "targets": {"choices": ["Rather not.", "Yes."], "labels": [1, 0]},
        },
    ]

    dataset = import_benchmark(project, write(tmp_path, rows), name="hhh")
    prompts = [row["prompt"] for row in open_split(dataset, "test")]

    assert read(dataset) == [("May I lie?", "Rather not.", "Yes.", "")] * 2
    assert [[turn["role"] for turn in prompt] for prompt in prompts] == [["user"], ["user", "assistant", "user"]]


@pytest.mark.skipif(not HH.exists(), reason="no real data beside the repository")
def test_the_real_hh_file_becomes_a_test_set(project, tmp_path):
    with gzip.open(HH, "rt", encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(200), strict=False)]
    path = tmp_path / "hh.jsonl"
    path.write_text("".join(lines), "utf-8")

    dataset = import_benchmark(project, path)

    assert (dataset.rule["format"], dataset.n_test) == ("hh", 200)


def test_the_same_file_again_is_the_test_set_there_is(project, tmp_path):
    path = write(tmp_path, REWARDBENCH)

    assert import_benchmark(project, path) == import_benchmark(project, path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "it holds no rows"),
        ([{"question": "?"}], r"its columns \(question\) are those of no test set: RewardBench has prompt, chosen"),
        (
            [REWARDBENCH[0], {"prompt": "x", "chosen": "same", "rejected": "same"}],
            "line 2: both completions are the same",
        ),
        ([REWARDBENCH[0], {"prompt": "x"}], "line 2: it is no row of the format rewardbench"),
        ([{"input": "?", "targets": {"choices": ["a", "b"], "labels": [0, 0]}}], "line 1: labels must call one choice"),
    ],
)
def test_a_file_with_a_bad_row_is_refused_whole(project, tmp_path, rows, words):
    with pytest.raises(FileRefused, match=words):
        import_benchmark(project, write(tmp_path, rows))

    assert find_reserved(project) == set()


def reserve(project, tmp_path, comparison):
    row = {"prompt": comparison.prompt.messages, "chosen": "right", "rejected": "wrong"}
    return import_benchmark(project, write(tmp_path, [row]))


def test_its_prompts_leave_every_freeze(project, other_project, labeler, tmp_path):
    comparisons = [make_comparison(project) for _ in range(2)]
    for comparison in comparisons:
        comparison.prompt.content_sha = hash_messages(comparison.prompt.messages)
        comparison.prompt.save()
        judge(comparison, labeler)
    imported = Import.objects.create(project=project, source="x", state="committed", format="trl", sha256=hash_of("x"))
    for comparison in comparisons:
        Demonstration.objects.create(imported=imported, completion=comparison.completion_a, line=comparison.pk)
    before = (
        freeze_preferences(project, rule=FreezeRule(test_share=0), name="all"),
        freeze_texts(project, name="all", test_share=0),
        freeze_demonstrations(project, name="all", test_share=0, use_fixes=False),
    )

    test_set = reserve(project, tmp_path, comparisons[0])

    after = (
        freeze_preferences(project, rule=FreezeRule(test_share=0), name="rest"),
        freeze_texts(project, name="rest", test_share=0),
        freeze_demonstrations(project, name="rest", test_share=0, use_fixes=False),
    )
    assert [dataset.n_train for dataset in before] == [2, 4, 2]
    assert [dataset.n_train for dataset in after] == [1, 2, 1]
    assert draw_prompts(project, 10, seed=0) == [comparisons[1].prompt]
    assert list(list_known(project, test_set)) == [comparisons[0].prompt.pk]
    assert find_reserved(other_project) == set()


def test_a_project_with_nothing_else_has_nothing_to_freeze(project, labeler, tmp_path):
    prompt = add_prompt(project, [message("How deep?")])
    Completion.objects.create(prompt=prompt, text="deep", content_sha=hash_of("deep"))
    import_benchmark(project, write(tmp_path, REWARDBENCH))

    with pytest.raises(EmptyDataset):
        freeze_texts(project, name="texts")


@pytest.mark.parametrize("kind", ["reward", "dpo", "kto", "sft", "ppo"])
def test_no_run_learns_from_it(project, tmp_path, kind):
    dataset = import_benchmark(project, write(tmp_path, REWARDBENCH))

    with pytest.raises(NotReady, match="holds test pairs"):
        plan_run(project, CONFIGS[kind](), dataset=dataset)
    with pytest.raises(IntegrityError, match="benchmark_never_trains"), transaction.atomic():
        create_run(project, CONFIGS[kind](), dataset=dataset)


def test_a_dataset_frozen_before_a_test_set_came_teaches_none_of_its_prompts(project, labeler, tmp_path):
    comparisons = [make_comparison(project) for _ in range(2)]
    for comparison in comparisons:
        comparison.prompt.content_sha = hash_messages(comparison.prompt.messages)
        comparison.prompt.save()
        judge(comparison, labeler)
    old = freeze_preferences(project, rule=FreezeRule(test_share=0), name="all")
    reserve(project, tmp_path, comparisons[0])
    new = freeze_preferences(project, rule=FreezeRule(test_share=0), name="all")

    with pytest.raises(NotReady, match="was frozen before the test set set came and holds 1 of its prompts"):
        plan_run(project, CONFIGS["dpo"](), dataset=old, base=make_sealed_checkpoint(project, "a"))
    assert plan_run(project, CONFIGS["dpo"](), dataset=new, base=make_sealed_checkpoint(project, "b")).dataset == new
