"""A dataset of judgments keeps its people, and its test split, when pairs that nobody has seen stand behind it."""

from __future__ import annotations

import pytest

from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.ranking import freeze_best, freeze_ranked
from rlhf.models import Run, Sample
from tests.rlhf.domain.circle import judge, make_circle, make_policy

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def project():
    project = make_circle(n_prompts=3).project
    judge(project, 20)
    return project


@pytest.fixture
def judged(project):
    return freeze_preferences(project, rule=FreezeRule(test_share=0.3), name="judged")


@pytest.fixture
def run(project):
    """A sampling run; its samples are each test's own."""
    return Run.objects.create(project=project, kind="sample", config={}, base=make_policy(project))


def say(run, number, *texts_and_scores, finished=True):
    """Store samples of one of the project's prompts, each a text with the scores of its heads."""
    prompt = run.project.prompts.order_by("pk")[number]
    start = run.samples.filter(prompt=prompt).count()
    for index, (text, scores) in enumerate(texts_and_scores, start):
        Sample.objects.create(
            run=run,
            checkpoint=run.base,
            prompt=prompt,
            index=index,
            text=text,
            scores=scores,
            finished=finished,
            n_tokens=3,
            decoding={},
            seed=1,
        )
    return prompt


def read_ranked(dataset):
    return [
        (row["prompt"], row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in open_split(dataset, "train")
        if row["source"] == "ranked"
    ]


def test_of_each_prompt_the_best_stands_over_the_worst_by_the_mean_of_the_heads(judged, run):
    first = say(run, 0, ("Fair.", [1.0, 1.0]), ("Best.", [0.0, 5.0]), ("Worst.", [0.0, 0.5]))
    second = say(run, 1, ("No.", [-2.0]), ("Yes.", [-1.0]))

    dataset = freeze_ranked(judged, run.pk)

    assert read_ranked(dataset) == [(first.messages, "Best.", "Worst."), (second.messages, "Yes.", "No.")]
    assert dataset.counts["ranked"] == 2
    assert dataset.rule == judged.rule | {"samples_of": run.pk}


def test_people_keep_their_lines_their_sources_and_the_test_split(judged, run):
    say(run, 0, ("No.", [-2.0]), ("Yes.", [-1.0]))

    dataset = freeze_ranked(judged, run.pk)

    train = list(open_split(dataset, "train"))
    assert train[: judged.n_train] == list(open_split(judged, "train"))
    assert list(open_split(dataset, "test")) == list(open_split(judged, "test"))
    assert judged.n_test > 0
    kept = ("split", "line", "comparison", "judgment")
    assert list(dataset.sources.order_by("pk").values_list(*kept)) == list(
        judged.sources.order_by("pk").values_list(*kept)
    )


def test_the_unfinished_the_empty_and_the_same_said_twice_make_no_pair(judged, run):
    say(run, 0, ("Same.", [1.0]), ("Same.", [1.0]))
    say(run, 1, ("Good.", [1.0]), (" ", [-9.0]))
    say(run, 1, ("Cut off in the", [-9.0]), finished=False)

    assert read_ranked(freeze_ranked(judged, run.pk)) == []


def test_without_a_score_there_is_nothing_to_learn_from(project, judged, run):
    say(run, 0, ("Yes.", []))

    with pytest.raises(NotReady, match=f"no finished sample of run {run.pk} has a score"):
        freeze_ranked(judged, run.pk)
    with pytest.raises(NotReady, match="there is nothing to learn from"):
        freeze_best(project, run.pk, name="best")


def test_the_best_of_each_prompt_is_what_is_imitated(project, run):
    prompt = say(run, 0, ("Fair.", [1.0]), ("Best.", [2.0]))

    (row,) = open_split(freeze_best(project, run.pk, name="best"), "train")

    assert row["messages"] == [*prompt.messages, {"role": "assistant", "content": "Best."}]
