"""What an annotator and the reward model are each sure of, on opposite sides, is decided by people."""

import json

import pytest

from labeling.domain.assignment import claim_slot
from labeling.models import AuditEvent, Comparison
from rlhf.contract.records import read_rows
from rlhf.domain import execution, runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.feedback.disputes import is_disputed
from rlhf.domain.feedback.routing import Routing, route_judgments
from rlhf.domain.provisioning import prepare_folder
from rlhf.models import AIJudgment, Annotator, Dispute, PairScore, Run
from tests.rlhf.conftest import make_checkpoint, make_run
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all
from tests.rlhf.domain.test_planning import make_sealed_checkpoint

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.usefixtures("no_audit")]
NO_AUDIT = {"n_unsure": 0, "n_audit": 0}


@pytest.fixture
def reward_model(project):
    return make_checkpoint(project, kind="reward", name="judge")


def say(annotator, comparison, p=0.95, **facts):
    return AIJudgment.objects.create(
        annotator=annotator, comparison=comparison, **{"p": p, "p_ab": p, "p_ba": p} | facts
    )


def score(run: Run, **scores: tuple[float, ...]) -> None:
    """End a scoring run as its worker would, with what each head says of A and B of every pair."""
    claimed = runs.claim_run(run.pk)
    folder = run_folder(claimed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt_id": row["prompt_id"], "index": row["index"], "scores": list(scores["ab"[row["index"]]])}
        for row in open_split(run.dataset, "train")
        if "ab"[row["index"]] in scores
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    execution.publish(claimed, folder, {})


def test_what_the_reward_model_is_sure_of_the_other_way_round_goes_to_people_first(
    project, annotator, labeler, reward_model
):
    pairs = add_pairs(project, 3)
    for pair in pairs[1:]:
        say(annotator, pair, p=0.95)

    routing, run = route_judgments(annotator, seed=1)
    assert (routing, run.kind, run.base, run.dataset.n_train) == (
        Routing(n_disputed=0, n_unscored=2, **NO_AUDIT),
        "score",
        reward_model,
        4,
    )
    score(run, a=(-2.0, -1.0), b=(1.0, 0.0))

    assert set(Dispute.objects.values_list("judgment__comparison", "score__margin")) == {
        (pair.pk, -2.0) for pair in pairs[1:]
    }
    assert claim_slot(project, labeler).comparison in pairs[1:]
    assert list(Comparison.objects.filter(priority=100).order_by("pk")) == pairs[1:]
    event = AuditEvent.objects.get(verb="annotator.route")
    assert event.after == {**NO_AUDIT, "n_disputed": 2, "n_unscored": 0, "reward_model": "judge"}


@pytest.mark.parametrize(("temperature", "n_disputed"), [(1.0, 1), (10.0, 0)])
def test_how_sure_a_reward_model_is_follows_from_the_temperature_it_was_calibrated_to(
    temperature: float, n_disputed: int, project, annotator, reward_model
):
    result = {"temperature": temperature}
    reward_model.run = make_run(project, kind="reward", state="succeeded", result=result)
    reward_model.save()
    say(annotator, add_pairs(project, 1)[0], p=0.95)

    score(route_judgments(annotator, seed=1)[1], a=(-1.0,), b=(1.0,))

    assert PairScore.objects.get().margin == -2.0  # what was said stays in the model's own units
    assert Dispute.objects.count() == n_disputed


@pytest.mark.parametrize(
    ("annotator", "reward_model", "disputed"),
    [(0.9, 0.1, True), (0.1, 0.9, True), (0.9, 0.4, False), (0.6, 0.1, False), (0.9, 0.9, False), (0.66, 0.34, True)],
)
def test_both_have_to_be_sure(annotator, reward_model, disputed):
    assert is_disputed(annotator, reward_model) is disputed


def test_without_a_reward_model_nothing_is_asked(project, annotator):
    say(annotator, add_pairs(project, 1)[0])

    assert route_judgments(annotator, seed=1) == (Routing(n_disputed=0, **NO_AUDIT), None)


def test_a_run_under_way_is_not_started_twice(project, annotator, reward_model):
    say(annotator, add_pairs(project, 1)[0])

    first, second = route_judgments(annotator)[1], route_judgments(annotator)[1]

    assert first == second
    assert Run.objects.count() == 1


def test_a_text_that_does_not_fit_is_asked_about_once(project, annotator, reward_model):
    say(annotator, add_pairs(project, 1)[0])

    score(route_judgments(annotator)[1], a=(-3.0,))

    assert PairScore.objects.get().margin is None
    assert route_judgments(annotator)[1] is None
    assert Dispute.objects.count() == 0


def test_what_a_round_has_scored_is_taken_over(project, annotator, reward_model):
    pair = add_pairs(project, 1)[0]
    say(annotator, pair, p=0.05)
    sampled = make_run(project, kind="sample", state="succeeded")
    policy = make_checkpoint(project, name="policy")
    for index, side in enumerate((pair.completion_a, pair.completion_b)):
        sampled.samples.create(
            checkpoint=policy,
            prompt=pair.prompt,
            completion=side,
            index=index,
            text=side.text,
            n_tokens=3,
            finished=True,
            decoding={},
            seed=1,
            scores=[4.0 - 3 * index, 2.0 - index],
        )
    scoring = make_run(project, kind="score", state="succeeded", base=reward_model)
    Run.objects.filter(pk=scoring.pk).update(config=scoring.config | {"samples_of": sampled.pk})

    routing, run = route_judgments(annotator)

    assert (routing.n_disputed, run) == (1, None)
    found = PairScore.objects.get()
    assert (found.run, found.reward_model, found.margin) == (scoring, reward_model, 2.0)


def test_scores_of_another_reward_model_are_not_taken_over(project, annotator, reward_model):
    pair = add_pairs(project, 1)[0]
    say(annotator, pair, p=0.05)
    earlier = PairScore.objects.create(
        run=make_run(project, kind="score", state="succeeded"),
        reward_model=make_checkpoint(project, kind="policy"),
        comparison=pair,
        margin=5.0,
    )

    routing, run = route_judgments(annotator)

    assert (routing.n_disputed, routing.n_unscored) == (0, 1)
    assert list(PairScore.objects.all()) == [earlier]
    assert run is not None


def test_what_is_disputed_waits_for_a_person_and_makes_no_row(project, annotator, labeler, reward_model):
    Annotator.objects.filter(pk=annotator.pk).update(exam="passed")
    add_pairs(project, 6)
    judge_all(project, labeler, preference=-2)
    for pair in add_pairs(project, 12)[6:]:
        say(annotator, pair)
    rule = FreezeRule(include=("own", "ai:clara"), test_share=0.0)
    assert freeze_preferences(project, rule=rule, name="before").counts["ai"] == {"clara": 6}

    score(route_judgments(annotator)[1], a=(-3.0,), b=(3.0,))

    after = freeze_preferences(project, rule=rule, name="after")
    assert (after.counts["ai"], after.counts["ai_disputed_left_out"]) == ({}, 6)


def test_what_people_have_judged_is_not_disputed(project, annotator, labeler, reward_model):
    pair = add_pairs(project, 1)[0]
    say(annotator, pair)
    judge_all(project, labeler, preference=-2)

    assert route_judgments(annotator) == (Routing(n_disputed=0, **NO_AUDIT), None)


def test_the_process_reads_both_texts_of_every_pair(project, annotator):
    make_sealed_checkpoint(project, "judge", kind="reward")
    pair = add_pairs(project, 1)[0]
    say(annotator, pair)
    run = route_judgments(annotator)[1]

    prepare_folder(run, run_folder(run))

    rows = [
        (row["prompt_id"], row["index"], row["text"], row["finished"])
        for row in read_rows(run_folder(run) / "data/samples.jsonl")
    ]
    assert rows == [
        (str(pair.pk), index, side.text, True) for index, side in enumerate((pair.completion_a, pair.completion_b))
    ]
