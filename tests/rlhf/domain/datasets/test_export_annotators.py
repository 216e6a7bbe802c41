"""Rows that annotators made leave the house with their name on them, and no person's word is lost to theirs."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow.parquet
import pytest

from labeling.domain.pairing import Pair, propose_comparisons
from rlhf.domain.datasets.export import export_dataset, read_export
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.models import AIJudgment, Annotator
from tests.rlhf.conftest import message
from tests.rlhf.domain.feedback.conftest import add_clara, judge_all, judge_and_ask

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("format", ["trl", "parquet", "hh", "openai", "kto", "sft"])
def test_rows_that_annotators_made_are_exported_and_every_row_says_whose_it_is(project, labeler, tmp_path, format):
    judge_and_ask(project, add_clara(project), labeler)
    rule = FreezeRule(include=("own", "ai:clara"), test_share=0.2)
    dataset = freeze_preferences(project, rule=rule, name="both")

    export_dataset(dataset, format=format, path=tmp_path / "out")

    if format == "parquet":
        rows = pyarrow.parquet.read_table(tmp_path / "out/data/train-00000-of-00001.parquet").to_pylist()
    else:
        rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    told = Counter((row.get("source"), row.get("annotator_kind"), row.get("weight"), row.get("target")) for row in rows)
    n_people = dataset.n_train - dataset.counts["ai"]["clara"]
    n_ai = dataset.counts["ai"]["clara"]
    weights = {"trl": (1.0, 0.5), "parquet": (1.0, 0.5), "kto": (1.0, 0.5)}.get(format, (None, None))
    targets = {"trl": (1.0, 0.95), "parquet": (1.0, 0.95)}.get(format, (None, None))
    each = 2 if format == "kto" else 1
    assert told == (
        {(None, None, None, None): dataset.n_train}
        if format == "openai"
        else {
            ("own", "human", weights[0], targets[0]): each * n_people,
            ("ai:clara", "ai", weights[1], targets[1]): each * n_ai,
        }
    )


def test_a_dataset_of_people_alone_has_no_column_more(project, labeler, tmp_path):
    judge_and_ask(project, add_clara(project), labeler)
    dataset = freeze_preferences(project, rule=FreezeRule(test_share=0.0), name="people's")

    export_dataset(dataset, format="trl", path=tmp_path / "out")

    rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert {tuple(sorted(row)) for row in rows} == {("chosen", "group", "prompt", "rejected", "source")}


def test_what_an_annotator_says_of_a_completion_takes_no_persons_word_away(project, labeler):
    """Clara calls good what people called bad, of the same prompt and text: people's label stands."""
    clara = add_clara(project)
    Annotator.objects.filter(pk=clara.pk).update(exam="passed")
    messages = [message("May I come in?")]
    propose_comparisons(project, [Pair(messages=messages, text_a="Yes.", text_b="No.")])
    judge_all(project, labeler, preference=-2)
    (pair,) = propose_comparisons(project, [Pair(messages=messages, text_a="Never.", text_b="No.")])
    is_a = pair.completion_a.text == "No."
    p = 0.95 if is_a else 0.05
    AIJudgment.objects.create(annotator=clara, comparison=pair, p=p, p_ab=p, p_ba=p)
    rule = FreezeRule(include=("own", "ai:clara"), test_share=0.0)

    rows = list(read_export(freeze_preferences(project, rule=rule, name="d"), "train", format="kto"))

    said = {row["completion"][0]["content"]: (row["label"], row["annotator_kind"]) for row in rows}
    assert said == {"Yes.": (True, "human"), "No.": (False, "human"), "Never.": (False, "ai")}


def test_rewritten_demonstrations_are_exported_with_their_source(project, tmp_path):
    rows = [
        {"messages": [message("Hello?"), message("Hi.", "assistant")]},
        {"messages": [message("Hello!"), message("Hey.", "assistant")], "source": "ai:clara", "annotator_kind": "ai"},
    ]
    dataset = freeze_rows(
        project, kind="demonstration", name="d", train=rows, test=[], rule={}, counts={"ai": {"clara": 1}}
    )

    export_dataset(dataset, format="parquet", path=tmp_path / "out")

    read = pyarrow.parquet.read_table(tmp_path / "out/data/train-00000-of-00001.parquet").to_pylist()
    assert [(row["source"], row["annotator_kind"]) for row in read] == [("own", "human"), ("ai:clara", "ai")]
