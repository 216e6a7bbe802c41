import pytest

from labeling.models import AuditEvent, Membership
from rlhf.domain import lineage
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.errors import NotReady
from rlhf.domain.lineage import trace_labeler
from rlhf.domain.rebuilding import rebuild_without
from rlhf.domain.terms import get_loop, read_terms
from rlhf.models import Loop
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all
from tests.rlhf.domain.test_lineage import house, make_rounds, names, noa, train  # noqa: F401 -- fixtures

pytestmark = pytest.mark.django_db


def test_a_rebuild_begins_at_the_last_policy_that_is_free_of_her(house, project, noa, manager):  # noqa: F811
    loop = get_loop(project)
    Loop.objects.filter(pk=loop.pk).update(policy=house["two"])

    round = rebuild_without(project, noa, user=manager)

    assert (round.base, round.state) == (house["one"], "running")
    assert read_terms(round).rule["exclude_labelers"] == ["noa"]
    assert Membership.objects.get(user=noa).is_quarantined
    assert AuditEvent.objects.filter(verb="member.quarantine", actor=manager).count() == 1


def test_a_labeler_behind_everything_leaves_the_policy_before_all(house, project, labeler):  # noqa: F811
    Loop.objects.create(project=project, policy=house["two"])

    assert rebuild_without(project, labeler, user=None).base == house["sft"]


def test_where_no_policy_is_free_of_her_nothing_is_begun(project, labeler):
    add_pairs(project, 4)
    judge_all(project, labeler, preference=-2)
    base = train(project, "pretrain", name="pretrained")
    dataset = freeze_preferences(project, rule=FreezeRule(), name="first")
    Loop.objects.create(project=project, policy=train(project, "dpo", base=base, dataset=dataset, name="one"))

    with pytest.raises(NotReady, match="every policy of Harbour was trained with her judgments"):
        rebuild_without(project, labeler, user=None)

    assert not Membership.objects.get(user=labeler).is_quarantined


def test_a_running_round_is_waited_for_and_nobody_is_set_aside(house, project, noa):  # noqa: F811
    Loop.objects.create(project=project, policy=house["two"])
    rebuild_without(project, noa, user=None)
    Membership.objects.filter(user=noa).update(is_quarantined=False, is_active=True)

    with pytest.raises(NotReady, match="a round of"):
        rebuild_without(project, noa, user=None)

    assert not Membership.objects.get(user=noa).is_quarantined


def test_a_rebuild_knows_the_models_that_are_not_drawn(house, project, noa, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lineage, "MAX_RUNS", 1)
    last = make_rounds(project, 3, base=house["two"], dataset=None)
    Loop.objects.create(project=project, policy=last)

    graph = trace_labeler(project, noa)

    assert (names(graph, "run"), names(graph, "checkpoint")) == (
        ["4 more", f"run {house['reward'].run_id}"],
        ["4 more", "reward"],
    )
    assert (len(graph.checkpoints), graph.is_cut) == (5, True)
    assert {key for edge in graph.edges for key in edge} <= graph.nodes.keys()
    assert rebuild_without(project, noa, user=None).base == house["one"]
