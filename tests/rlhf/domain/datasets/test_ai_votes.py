"""What annotators said enters a dataset by rule alone: never by default, never over people, never into a test split."""

import json

import pytest

from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Completion
from rlhf.domain.datasets.freezing import freeze_demonstrations, freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.shelf import EmptyDataset, open_split
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from rlhf.models import AIJudgment, Annotator, DatasetSource, Revision
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = [pytest.mark.django_db, pytest.mark.database]
BOTH = FreezeRule(include=("own", "ai:clara"), test_share=0.3)


@pytest.fixture
def clara(project):
    write_constitution(project, STARTER)
    annotator = add_annotator(project, "clara", endpoint="http://127.0.0.1:9/v1", model="m", weight=0.4)
    Annotator.objects.filter(pk=annotator.pk).update(exam="passed", exam_result={"agreement": 0.9})
    annotator.refresh_from_db()
    return annotator


def say(annotator, comparison, p=0.9):
    return AIJudgment.objects.create(annotator=annotator, comparison=comparison, p=p, p_ab=p, p_ba=p)


def read(dataset, split):
    return list(open_split(dataset, split))


def test_nothing_an_annotator_said_is_in_a_dataset_by_default(project, clara, labeler):
    for pair in add_pairs(project, 4):
        say(clara, pair)
    with pytest.raises(EmptyDataset):
        freeze_preferences(project, rule=FreezeRule(), name="people's")

    judge_all(project, labeler, preference=-2)
    add_pairs(project, 4)
    dataset = freeze_preferences(project, rule=FreezeRule(), name="people's")

    assert {row["source"] for split in ("train", "test") for row in read(dataset, split)} == {"own"}
    assert DatasetSource.objects.filter(ai_judgment__isnull=False).count() == 0


def test_an_annotators_row_says_whose_it_is_and_how_sure(project, clara):
    comparison = add_pairs(project, 1)[0]
    judgment = say(clara, comparison, p=0.2)

    dataset = freeze_preferences(project, rule=BOTH, name="both")

    row = read(dataset, "train")[0]
    assert (row["source"], row["annotator_kind"], row["weight"], row["target"]) == ("ai:clara", "ai", 0.4, 0.8)
    assert row["chosen"][0]["content"] == comparison.completion_b.text
    source = DatasetSource.objects.get()
    assert (source.split, source.line, source.comparison, source.ai_judgment) == ("train", 1, comparison, judgment)
    assert (dataset.counts["ai"], dataset.counts["ai_exams"]) == ({"clara": 1}, {"clara": {"agreement": 0.9}})


def test_people_are_never_outvoted(project, clara, labeler):
    pair = add_pairs(project, 1)[0]
    judge_all(project, labeler, preference=-2)
    say(clara, pair, p=0.01)

    dataset = freeze_preferences(project, rule=BOTH, name="both")

    rows = read(dataset, "train") + read(dataset, "test")
    assert [(row["source"], row["chosen"][0]["content"]) for row in rows] == [("own", pair.completion_a.text)]
    assert dataset.counts["ai_judged_by_people_left_out"] == 1


def test_no_row_of_an_annotator_is_ever_tested_on(project, clara, labeler):
    add_pairs(project, 40)
    n_judged = judge_all(project, labeler, preference=-2)
    people_only = freeze_preferences(project, rule=FreezeRule(test_share=0.3), name="people's")
    for pair in add_pairs(project, 80)[40:]:
        say(clara, pair)

    dataset = freeze_preferences(project, rule=BOTH, name="both")

    assert n_judged == 40
    assert read(dataset, "test") == read(people_only, "test")
    kinds = [row.get("annotator_kind", "people") for row in read(dataset, "train")]
    assert kinds == ["people"] * people_only.n_train + ["ai"] * 40


def test_a_prompt_of_the_test_split_is_not_learned_from_an_annotator(project, clara, labeler):
    add_pairs(project, 20)
    judge_all(project, labeler, preference=-2)
    tested = read(freeze_preferences(project, rule=FreezeRule(test_share=0.5), name="people's"), "test")[0]
    again = propose_comparisons(project, [Pair(messages=tested["prompt"], text_a="Hm.", text_b="Hm, hm.")])[0]
    say(clara, again)

    dataset = freeze_preferences(project, rule=FreezeRule(include=BOTH.include, test_share=0.5), name="both")

    assert dataset.counts["ai_test_left_out"] == 1


def test_ties_make_no_pair(project, clara):
    first, second = add_pairs(project, 2)
    say(clara, first, p=0.5)
    say(clara, second)

    dataset = freeze_preferences(project, rule=BOTH, name="both")

    assert (dataset.n_train, dataset.counts["ai_ties_left_out"]) == (1, 1)


@pytest.mark.parametrize("exam", ["open", "failed"])
def test_an_annotator_that_did_not_pass_is_refused(project, clara, exam):
    Annotator.objects.update(exam=exam)
    say(clara, add_pairs(project, 1)[0])

    with pytest.raises(InvalidRule, match="include names clara, whose exam is"):
        freeze_preferences(project, rule=BOTH, name="both")


def test_an_unknown_annotator_is_named(project):
    with pytest.raises(InvalidRule, match="names no annotator of Harbour: dora"):
        freeze_preferences(project, rule=FreezeRule(include=("ai:dora",)), name="hers")


def test_the_rule_with_its_annotators_is_read_back(project):
    assert FreezeRule.from_json(json.loads(json.dumps(BOTH.to_json()))) == BOTH


def test_revisions_are_imitated_where_their_annotator_is_named(project, clara):
    original = add_pairs(project, 1)[0].completion_b
    for turn, text in enumerate(("Please go.", "Come in, please."), 1):
        revised = Completion.objects.create(prompt=original.prompt, text=text, content_sha=str(turn))
        Revision.objects.create(
            annotator=clara, original=original, revised=revised, turn=turn, principle="kind", critique="Rude."
        )
    with pytest.raises(EmptyDataset):
        freeze_demonstrations(project, name="people's")

    dataset = freeze_demonstrations(project, name="hers", annotators=("clara",), test_share=0.0)

    assert [row["messages"][-1]["content"] for row in read(dataset, "train")] == ["Come in, please."]
    assert dataset.rule["annotators"] == ["clara"]
