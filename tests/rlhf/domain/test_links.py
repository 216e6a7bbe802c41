"""Whatever a model had its say in is followed: what it rewarded, ranked, annotated and kept out."""

import pytest

from labeling.domain.people import add_member
from labeling.models import Comparison, User
from rlhf.domain import lineage
from rlhf.domain import loop as life
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.feedback.annotators import add_annotator
from rlhf.domain.feedback.constitutions import STARTER, write_constitution
from rlhf.domain.lineage import trace_back, trace_labeler
from rlhf.domain.rebuilding import find_clean_policy
from rlhf.models import AIJudgment, Annotator, Checkpoint, Dispute, Loop, PairScore, Round, Run
from rlhf.views.graph import draw_graph
from tests.rlhf.conftest import make_run
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy, queue_pairs, succeed
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all
from tests.rlhf.domain.test_lineage import house, names, noa, train  # noqa: F401 -- fixtures

pytestmark = [pytest.mark.django_db, pytest.mark.database]
METHODS = ["dpo", "ppo", "best_of_n", "ranked"]


def go_on(loop):
    life.advance_loop(loop.pk)
    return go_round(Round.objects.order_by("-number")[0])


def go_two_rounds(method):
    """Lea's judgments go into both rounds, ida's into the second alone."""
    loop = make_circle(method=method)
    make_policy(loop.project)
    life.start_loop(loop)
    judge(loop.project, 4)
    go_on(loop)
    ida = User.objects.create_user("ida")
    add_member(loop.project, ida, role="labeler")
    queue_pairs(loop.project, 4)
    judge_all(loop.project, ida, preference=-2)
    judge(loop.project, 2)
    go_on(loop)
    return Loop.objects.get(pk=loop.pk)


@pytest.mark.parametrize("method", METHODS)
def test_a_labeler_is_followed_to_the_promoted_policy_and_the_policy_back_to_her(method):
    loop = go_two_rounds(method)
    lea, ida = (User.objects.get(username=name) for name in ("lea", "ida"))
    first, second = Round.objects.order_by("number")

    of_lea, of_ida = trace_labeler(loop.project, lea).checkpoints, trace_labeler(loop.project, ida).checkpoints

    assert loop.policy == second.candidate
    assert of_lea == set(Checkpoint.objects.exclude(name="sft").values_list("pk", flat=True))
    assert of_ida == set(Checkpoint.objects.filter(run__round=second).values_list("pk", flat=True))
    assert names(trace_back(loop.policy), "labeler") == ["ida", "lea"]
    assert names(trace_back(first.candidate), "labeler") == ["lea"]
    rewards = {f"reward-{run.pk}" for run in Run.objects.filter(kind="reward")}
    assert rewards & set(names(trace_back(loop.policy), "checkpoint")) == (rewards if method != "dpo" else set())


@pytest.mark.parametrize("method", METHODS)
def test_the_clean_policy_is_one_that_leads_back_to_none_of_her_judgments(method):
    loop = go_two_rounds(method)
    lea, ida = (User.objects.get(username=name) for name in ("lea", "ida"))
    first, _ = Round.objects.order_by("number")

    without_ida = find_clean_policy(loop, trace_labeler(loop.project, ida))
    without_lea = find_clean_policy(loop, trace_labeler(loop.project, lea))

    assert (without_ida, without_lea.name) == (first.candidate, "sft")
    assert names(trace_back(without_ida), "labeler") == ["lea"]
    assert names(trace_back(without_lea), "labeler") == []


def test_samples_a_reward_model_has_ranked_are_drawn_between_it_and_the_policy():
    loop = go_two_rounds("best_of_n")
    first, _ = Round.objects.order_by("number")
    runs = {run.kind + run.part: run for run in first.runs.all()}
    sft, dataset = runs["sft"], f"dataset:{runs['sft'].dataset_id}"
    way = [
        (f"checkpoint:{runs['reward'].checkpoint.pk}", f"run:{runs['scorebest'].pk}"),
        (f"run:{runs['scorebest'].pk}", dataset),
        (dataset, f"run:{sft.pk}"),
        (f"run:{sft.pk}", f"checkpoint:{sft.checkpoint.pk}"),
    ]

    back, forth = trace_back(first.candidate), trace_labeler(loop.project, User.objects.get(username="lea"))

    assert set(way) <= back.edges
    assert set(way) <= forth.edges
    assert {(f"checkpoint:{first.base_id}", f"run:{runs['samplebest'].pk}")} <= back.edges
    assert {(f"run:{runs['samplebest'].pk}", dataset)} <= back.edges
    for graph in (back, forth):
        assert {key for edge in graph.edges for key in edge} <= graph.nodes.keys()
        assert len(draw_graph(graph).boxes) == len(graph.nodes)


def test_a_reward_model_that_is_not_drawn_is_followed_too(monkeypatch):
    loop = go_two_rounds("best_of_n")
    monkeypatch.setattr(lineage, "MAX_CHECKPOINTS", 1)
    monkeypatch.setattr(lineage, "MAX_RUNS", 2)

    back, forth = trace_back(loop.policy), trace_labeler(loop.project, User.objects.get(username="lea"))

    assert (names(back, "labeler"), back.is_cut) == (["ida", "lea"], True)
    assert (loop.policy_id in forth.checkpoints, forth.is_cut) == (True, True)
    for graph in (back, forth):
        assert {key for edge in graph.edges for key in edge} <= graph.nodes.keys()
        assert len(draw_graph(graph).boxes) == len(graph.nodes)


def test_who_scores_samples_after_they_were_learned_has_no_say_in_the_policy():
    loop = go_two_rounds("best_of_n")
    first, second = Round.objects.order_by("number")
    scored, later = first.runs.get(kind="score"), second.runs.get(kind="reward").checkpoint
    again = Run.objects.create(
        project=loop.project, kind="score", config=scored.config, dataset=scored.dataset, base=later
    )

    succeed(again)

    assert first.candidate_id not in trace_labeler(loop.project, User.objects.get(username="ida")).checkpoints
    assert names(trace_back(first.candidate), "labeler") == ["lea"]


def add_checked(project, **source):
    """An annotator that passed its exam."""
    write_constitution(project, STARTER)
    annotator = add_annotator(project, "clara", **source)
    Annotator.objects.filter(pk=annotator.pk).update(exam="passed")
    return annotator


def say(annotator, comparison, p):
    return AIJudgment.objects.create(annotator=annotator, comparison=comparison, p=p, p_ab=p, p_ba=p)


def test_an_annotator_passes_on_what_its_checkpoint_has_learned(house, project, noa):  # noqa: F811
    clara = add_checked(project, checkpoint=house["two"])
    for pair in add_pairs(project, 20):
        say(clara, pair, 0.9)
    said = freeze_preferences(project, rule=FreezeRule(include=("ai:clara",)), name="said")
    taught = train(project, "dpo", base=house["sft"], dataset=said, name="taught")
    way = [(f"checkpoint:{house['two'].pk}", "annotator:clara"), ("annotator:clara", f"dataset:{said.pk}")]

    back, forth = trace_back(taught), trace_labeler(project, noa)

    assert (names(back, "annotator"), names(back, "labeler")) == (["clara"], ["leo", "noa"])
    assert (set(way) <= back.edges, set(way) <= forth.edges) == (True, True)
    assert taught.pk in forth.checkpoints
    Loop.objects.create(project=project, policy=taught)
    assert find_clean_policy(Loop.objects.get(), forth) == house["sft"]


def test_a_reward_model_that_kept_out_what_an_annotator_said_is_behind_what_was_left(house, project, noa):  # noqa: F811
    clara = add_checked(project, endpoint="http://127.0.0.1:9/v1", model="m")
    scoring = make_run(project, kind="score", state="succeeded", base=house["reward"])
    pairs = add_pairs(project, 20)
    judgments = [say(clara, pair, 0.9) for pair in pairs]
    score = PairScore.objects.create(
        run=scoring, reward_model=house["reward"], comparison=Comparison.objects.get(pk=pairs[0].pk), margin=-9.0
    )
    Dispute.objects.create(judgment=judgments[0], score=score)
    said = freeze_preferences(project, rule=FreezeRule(include=("ai:clara",)), name="said")
    taught = train(project, "dpo", base=house["sft"], dataset=said, name="taught")

    assert said.counts["ai_disputed_left_out"] == 1
    assert taught.pk in trace_labeler(project, noa).checkpoints
    assert names(trace_back(taught), "checkpoint") == ["one", "reward", "sft", "taught"]


def test_what_ppo_learns_to_write_besides_is_a_source_too(house, project, labeler):  # noqa: F811
    policy = train(project, "ppo", base=house["sft"], name="beside")
    Run.objects.filter(pk=policy.run_id).update(config=policy.run.config | {"ptx_dataset": house["first"].pk})

    assert names(trace_back(policy), "labeler") == ["leo"]
    assert policy.pk in trace_labeler(project, labeler).checkpoints
