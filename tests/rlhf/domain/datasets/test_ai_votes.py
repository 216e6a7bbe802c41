"""What annotators said enters a dataset by rule alone: never by default, never over people, never into a test split."""

import json

import pytest

from labeling.domain.content import hash_text
from labeling.domain.pairing import Pair, propose_comparisons
from labeling.models import Completion
from rlhf.domain.datasets.completions import freeze_demonstrations, freeze_texts
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.shelf import EmptyDataset, open_split
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from rlhf.models import AIJudgment, Annotator, DatasetSource, Revision
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = [pytest.mark.django_db, pytest.mark.database]
BOTH = FreezeRule(include=("own", "ai:clara"), test_share=0.3)
HERS = FreezeRule(include=("ai:clara",), test_share=0.0)


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

    dataset = freeze_preferences(project, rule=HERS, name="hers")

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
    n_ai = dataset.counts["ai"]["clara"]
    assert kinds == ["people"] * people_only.n_train + ["ai"] * n_ai
    assert 0 < n_ai == 40 - dataset.counts["ai_test_left_out"]


def test_what_people_are_tested_on_an_annotators_own_dataset_does_not_teach(project, clara, labeler):
    add_pairs(project, 40)
    judge_all(project, labeler, preference=-2)
    people = freeze_preferences(project, rule=FreezeRule(test_share=0.3), name="people's")
    again = [
        Pair(messages=[{"role": "user", "content": f"May I come in, {number}?"}], text_a="Hm.", text_b="Hm, hm.")
        for number in range(40)
    ]
    for pair in propose_comparisons(project, again):
        say(clara, pair)

    hers = freeze_preferences(project, rule=FreezeRule(include=("ai:clara",), test_share=0.3), name="hers")

    tested = {str(row["prompt"]) for row in read(people, "test")}
    taught = {str(row["prompt"]) for row in read(hers, "train")}
    assert (len(tested), tested & taught) == (people.n_test, set())
    assert hers.counts["ai_test_left_out"] == people.n_test


def test_what_it_left_to_people_teaches_nothing(project, clara):
    first, second = add_pairs(project, 2)
    say(clara, first)
    say(clara, second)
    unsure = add_pairs(project, 3)[2]
    AIJudgment.objects.create(annotator=clara, comparison=unsure, p=0.55, p_ab=0.55, p_ba=0.55, needs_person=True)

    dataset = freeze_preferences(project, rule=HERS, name="hers")

    assert (dataset.n_train, dataset.counts["ai_unsure_left_out"]) == (2, 1)


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

    dataset = freeze_preferences(project, rule=HERS, name="hers")

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


def revise(annotator, original, *texts):
    """Store a completion rewritten turn by turn, with the pair its last turn makes."""
    for turn, text in enumerate(texts, 1):
        revised = Completion.objects.create(prompt=original.prompt, text=text, content_sha=hash_text(text))
        Revision.objects.create(
            annotator=annotator, original=original, revised=revised, turn=turn, principle="kind", critique="Rude."
        )
    pair = Pair(messages=original.prompt.messages, text_a=texts[-1], text_b=original.text, overlap=0)
    comparison = propose_comparisons(original.prompt.project, [pair])[0]
    is_a = comparison.completion_a.text == texts[-1]
    return say(annotator, comparison, p=1.0 if is_a else 0.0)


def test_revisions_are_imitated_where_their_annotator_is_named(project, clara):
    judgment = revise(clara, add_pairs(project, 1)[0].completion_b, "Please go.", "Come in, please.")
    with pytest.raises(EmptyDataset):
        freeze_demonstrations(project, name="people's")

    dataset = freeze_demonstrations(project, name="hers", annotators=("clara",), test_share=0.0)

    (row,) = read(dataset, "train")
    assert row["messages"][-1]["content"] == "Come in, please."
    assert (row["source"], row["annotator_kind"]) == ("ai:clara", "ai")
    assert (dataset.rule["annotators"], dataset.counts["ai"]) == (["clara"], {"clara": 1})
    assert list(dataset.sources.values_list("split", "line", "ai_judgment")) == [("train", 1, judgment.pk)]


def test_no_revision_is_ever_tested_on(project, clara):
    for comparison in add_pairs(project, 20):
        revise(clara, comparison.completion_b, f"Come in, please, {comparison.pk}.")

    dataset = freeze_demonstrations(project, name="hers", annotators=("clara",), test_share=0.4)

    assert 0 < dataset.n_train < 20
    assert dataset.n_test == 0


def test_texts_to_pretrain_on_hold_nothing_that_was_rewritten(project, clara):
    revise(clara, add_pairs(project, 1)[0].completion_b, "Come in, please.")

    dataset = freeze_texts(project, name="texts", test_share=0.0)

    texts = [row["text"] for row in read(dataset, "train")]
    assert (len(texts), any("Come in, please." in text for text in texts)) == (2, False)
