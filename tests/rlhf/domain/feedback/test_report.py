"""Three reward models, taught by people, by annotators and by both, are tested on the same of people's pairs."""

import json

import pytest

from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule, InvalidRule
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.execution import execute_run
from rlhf.domain.feedback.report import describe_report, list_runs, read_figures, start_report
from rlhf.domain.runs import create_run
from rlhf.models import Annotator, Checkpoint, FeedbackReport, Run
from tests.rlhf.conftest import make_checkpoint
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all, judge_and_ask

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def labels(project, annotator, labeler):
    judge_and_ask(project, annotator, labeler)


def read(run, split):
    return list(open_split(run.dataset, split))


def asked(rows):
    return {json.dumps(row["prompt"]) for row in rows}


def finish(report, **results):
    for name, run in list_runs(report).items():
        Run.objects.filter(pk=run.pk).update(
            state="succeeded", finished_at=run.created_at, result=results.get(name, {})
        )


def test_all_three_are_tested_on_the_same_pairs_of_people_and_learn_no_prompt_of_them(project, labels):
    make_checkpoint(project)

    report = start_report(project)

    runs = list_runs(report)
    assert {run.dataset.test_sha256 for run in runs.values()} == {report.human.dataset.test_sha256}
    tested = read(report.human, "test")
    assert {row["source"] for row in tested} == {"own"}
    assert [asked(tested) & asked(read(run, "train")) for run in runs.values()] == [set(), set(), set()]
    taught = {name: {row["source"] for row in read(run, "train")} for name, run in runs.items()}
    assert taught == {"human": {"own"}, "ai": {"ai:clara"}, "mixed": {"own", "ai:clara"}}


def test_both_never_hold_a_pair_twice_and_ai_alone_is_asked_about_the_same_pairs(project, labels):
    make_checkpoint(project)

    report = start_report(project, ["clara"])

    human, ai, mixed = (asked(read(run, "train")) for run in list_runs(report).values())
    assert human < ai
    assert mixed == ai
    assert report.mixed.dataset.n_train == len(mixed)


def test_the_three_differ_in_nothing_but_what_they_learn(project, labels):
    policy = make_checkpoint(project)

    report = start_report(project, config=RewardConfig(max_steps=7))

    runs = list_runs(report).values()
    assert {json.dumps(run.config, sort_keys=True) for run in runs} == {json.dumps(report.human.config, sort_keys=True)}
    assert {(run.kind, run.base, run.part, run.config["max_steps"]) for run in runs} == {
        ("reward", policy, "report", 7)
    }


def test_its_reward_models_reward_and_choose_nothing(project, labels):
    make_checkpoint(project)
    report = start_report(project)
    ours = make_checkpoint(project, kind="reward", name="ours")
    Run.objects.filter(pk=report.ai.pk).update(state="running", attempt=1, lease_until=report.created_at)
    report.ai.refresh_from_db()
    make_checkpoint(project, kind="reward", name="theirs", run=report.ai)

    assert list(Checkpoint.objects.reward_models_of(project)) == [ours]


def test_figures_come_with_their_interval_and_how_many_pairs(project, labels):
    make_checkpoint(project)
    report = start_report(project)
    n = report.human.dataset.n_test
    said = {"eval_accuracy": 0.75, "eval_accuracy_low": 0.5, "eval_accuracy_high": 0.9, "n_test": n, "n_test_ties": 1}
    finish(report, human=said)

    figures = read_figures(FeedbackReport.objects.get())

    assert (figures[0].accuracy, figures[0].low, figures[0].high, figures[0].n_tested) == (0.75, 0.5, 0.9, n - 1)
    assert figures[0].n_learned == 40 - n
    assert (figures[1].accuracy, figures[1].n_tested) == (None, None)
    assert describe_report(FeedbackReport.objects.get())[1] == (
        f"  people: {40 - n} pairs learned, 75.0% of {n - 1} right (95% interval 50.0% to 90.0%), {report.human}"
    )


def test_a_second_report_waits_for_the_first(project, labels):
    make_checkpoint(project)
    first = start_report(project)

    with pytest.raises(NotReady, match=f"{first} is under way"):
        start_report(project)

    finish(first)
    assert start_report(project).pk > first.pk


def test_without_an_annotator_that_passed_there_is_nothing_to_compare(project, labels, annotator):
    make_checkpoint(project)
    Annotator.objects.filter(pk=annotator.pk).update(exam="failed")

    with pytest.raises(NotReady, match="no annotator of Harbour has passed its exam"):
        start_report(project)
    with pytest.raises(InvalidRule, match="whose exam is failed"):
        start_report(project, ["clara"])
    assert Run.objects.count() == 0


def test_without_labels_of_one_side_it_says_whose_are_missing(project, annotator, labeler):
    make_checkpoint(project)
    Annotator.objects.filter(pk=annotator.pk).update(exam="passed")
    with pytest.raises(NotReady, match="nothing to learn from people"):
        start_report(project)

    add_pairs(project, 8)
    judge_all(project, labeler, preference=-2)
    with pytest.raises(NotReady, match="nothing to learn from AI"):
        start_report(project)


def test_a_rule_that_learns_from_all_keeps_the_hash_it_had(project, labels):
    dataset = freeze_preferences(project, rule=FreezeRule(), name="d")

    assert "learn_from" not in dataset.rule
    assert FreezeRule.from_json(dataset.rule) == FreezeRule()
    with pytest.raises(InvalidRule, match="learn_from must be one of all, people, ai, got 'cats'"):
        FreezeRule(learn_from="cats")


@pytest.mark.django_db(transaction=True)
def test_an_annotator_that_is_always_wrong_teaches_a_reward_model_that_is(project, labels, server):
    rows = [{"text": f"May I come in, {number}? Yes, please. Go away from here at once."} for number in range(40)]
    texts = freeze_rows(project, kind="text", name="t", train=rows, test=rows[:4], rule={})
    shape = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "n_layers": 1, "n_heads": 2}
    made = create_run(project, PretrainConfig(**shape, max_steps=30), dataset=texts)
    execute_run(made.pk, server=server, is_stopping=lambda: False)

    report = start_report(project, config=RewardConfig(max_steps=40, batch_size=8, learning_rate=3e-3))
    for run in list_runs(report).values():
        execute_run(run.pk, server=server, is_stopping=lambda: False)

    figures = {figure.name: figure for figure in read_figures(FeedbackReport.objects.get())}
    n = report.human.dataset.n_test
    assert {name: figure.n_tested for name, figure in figures.items()} == dict.fromkeys(figures, n)
    assert figures["human"].accuracy > 0.9 > 0.1 > figures["ai"].accuracy
    assert figures["ai"].accuracy <= figures["mixed"].accuracy <= figures["human"].accuracy
    assert figures["human"].low < figures["human"].accuracy <= figures["human"].high
