from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from labeling.domain.pairing import add_prompt
from rlhf.models import Dataset
from tests.rlhf.conftest import message

pytestmark = pytest.mark.django_db


def write(tmp_path, *rows):
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_it_says_what_came_of_the_file_and_what_to_do_next(project, tmp_path, capsys):
    add_prompt(project, [message("How deep?")])
    path = write(tmp_path, {"prompt": "How deep?", "chosen": "Ten metres.", "rejected": "Deep.", "subset": "chat"})

    call_command("import_benchmark", path, project="harbour")

    dataset = Dataset.objects.get(kind="benchmark")
    assert capsys.readouterr().out.splitlines() == [
        f"test set {dataset.pk}, bench: 1 pairs on 1 prompts (chat 1)",
        "1 of its prompts are in the project: models trained before may have seen them, and no freeze takes them from "
        "now on",
        f"measure on it: manage.py evaluate --project harbour --dataset {dataset.pk}",
    ]


def test_a_file_of_another_format_is_refused_with_the_formats_there_are(project, tmp_path):
    with pytest.raises(CommandError, match="RewardBench has prompt, chosen and rejected, HHH has input and targets"):
        call_command("import_benchmark", write(tmp_path, {"text": "x"}), project="harbour")


def test_an_unknown_project_is_named(db, tmp_path):
    with pytest.raises(CommandError, match="nowhere"):
        call_command("import_benchmark", write(tmp_path, {}), project="nowhere")
