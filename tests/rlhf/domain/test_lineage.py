import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain.people import add_member
from labeling.models import Judgment, User
from rlhf.domain import lineage
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.lineage import trace_back, trace_judgment, trace_labeler
from rlhf.models import Loop
from tests.rlhf.conftest import make_checkpoint, make_run
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def noa(project):
    user = User.objects.create_user("noa")
    add_member(project, user, role="labeler")
    return user


def train(project, kind, *, base=None, dataset=None, name, **inputs):
    run = make_run(project, kind=kind, state="succeeded", base=base, dataset=dataset, **inputs)
    return make_checkpoint(project, kind="reward" if kind == "reward" else "policy", run=run, parent=base, name=name)


@pytest.fixture
def house(project, labeler, noa):
    """Leo's judgments went into the first round, noa's into the second: its reward model learned from both."""
    sft = train(project, "sft", name="sft")
    add_pairs(project, 4)
    judge_all(project, labeler, preference=-2)
    first = freeze_preferences(project, rule=FreezeRule(), name="first")
    one = train(project, "dpo", base=sft, dataset=first, name="one")
    upto = Judgment.objects.order_by("-pk")[0].pk
    add_pairs(project, 8)
    judge_all(project, noa, preference=-2)
    new = freeze_preferences(project, rule=FreezeRule(after=upto), name="new")
    everything = freeze_preferences(project, rule=FreezeRule(), name="everything")
    reward = train(project, "reward", base=one, dataset=everything, name="reward")
    two = train(project, "ppo", base=one, dataset=new, reward_model=reward, name="two")
    return {"sft": sft, "one": one, "reward": reward, "two": two, "first": first}


def names(graph, kind):
    return sorted(node.name for node in graph.list_of(kind))


def test_a_model_is_followed_back_to_everyone_who_judged(house):
    graph = trace_back(house["two"])

    assert names(graph, "labeler") == ["leo", "noa"]
    assert names(graph, "dataset") == ["everything", "first", "new"]
    assert names(graph, "checkpoint") == ["one", "reward", "sft", "two"]
    assert (f"checkpoint:{house['reward'].pk}", f"run:{house['two'].run_id}") in graph.edges
    assert (f"run:{house['two'].run_id}", f"checkpoint:{house['two'].pk}") in graph.edges
    assert names(trace_back(house["one"]), "labeler") == ["leo"]
    assert names(trace_back(house["sft"]), "labeler") == []


def test_a_labeler_is_followed_to_every_model_her_judgments_reached(house, project, labeler, noa):
    assert names(trace_labeler(project, labeler), "checkpoint") == ["one", "reward", "two"]
    assert names(trace_labeler(project, noa), "checkpoint") == ["reward", "two"]
    details = {node.name: node.detail for node in trace_labeler(project, noa).list_of("dataset")}
    assert details == {"everything": "4 of its lines", "new": "4 of its lines"}


def test_one_judgment_is_followed_as_well(house, labeler):
    graph = trace_judgment(Judgment.objects.filter(labeler=labeler)[0])

    assert names(graph, "dataset") == ["everything", "first"]
    assert names(graph, "checkpoint") == ["one", "reward", "two"]


def test_the_policy_of_the_loop_is_marked(house, project):
    Loop.objects.create(project=project, policy=house["one"])

    assert [node.name for node in trace_back(house["two"]).list_of("checkpoint") if node.is_promoted] == ["one"]


def make_rounds(project, n, *, base, dataset):
    """Train n policies, one on the other, the first on the dataset."""
    for number in range(n):
        base = train(project, "dpo", base=base, dataset=None if number else dataset, name=f"round {number}")
    return base


def count_queries(trace):
    with CaptureQueriesContext(connection) as queries:
        trace()
    return len(queries)


def test_many_rounds_are_followed_in_as_few_queries_as_three(project, labeler):
    add_pairs(project, 4)
    judge_all(project, labeler, preference=-2)
    dataset = freeze_preferences(project, rule=FreezeRule(), name="first")
    last = make_rounds(project, 3, base=None, dataset=dataset)
    judgment = Judgment.objects.select_related("comparison__project", "labeler")[0]
    traces = [lambda: trace_labeler(project, labeler), lambda: trace_judgment(judgment), lambda: trace_back(last)]
    of_three = [count_queries(trace) for trace in traces]

    last = make_rounds(project, 27, base=last, dataset=None)

    assert [count_queries(trace) for trace in traces] == of_three
    assert len(trace_back(last).list_of("checkpoint")) == 30
    assert len(trace_labeler(project, labeler).list_of("checkpoint")) == 30


def test_whoever_stands_behind_what_is_not_drawn_is_named_too(house, project, monkeypatch):
    monkeypatch.setattr(lineage, "MAX_CHECKPOINTS", 2)
    last = make_rounds(project, 3, base=house["two"], dataset=None)

    graph = trace_back(last)

    assert names(graph, "checkpoint") == ["5 more", "round 1", "round 2"]
    assert (names(graph, "labeler"), names(graph, "dataset"), graph.is_cut) == (["leo", "noa"], ["3 more"], True)
    assert ("labeler:leo", "dataset:") in graph.edges
    assert ("dataset:", "checkpoint:") in graph.edges
    assert {key for edge in graph.edges for key in edge} <= graph.nodes.keys()
