import pytest
from django.db.models import Q

from labeling.domain.assignment import claim_slot
from labeling.domain.people import add_member
from labeling.models import AuditEvent, Comparison, Membership, Slot, User
from rlhf.domain import lineage
from rlhf.domain import loop as life
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.errors import NotReady
from rlhf.domain.lineage import trace_labeler
from rlhf.domain.rebuilding import rebuild_without, tell_rebuild
from rlhf.domain.terms import get_loop, read_terms
from rlhf.models import Loop, Round
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy, queue_pairs
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all
from tests.rlhf.domain.test_lineage import house, make_rounds, names, noa, train  # noqa: F401 -- fixtures
from tests.rlhf.domain.test_links import METHODS, add_checked, go_on, go_two_rounds

pytestmark = [pytest.mark.django_db, pytest.mark.database]


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


def list_shown(policy):
    """Return the open comparisons that show what a policy said and that somebody may be given, now or later."""
    said = f"Policy {policy.pk} says"
    waiting = Slot.objects.filter(state__in=["free", "held"]).values("comparison")
    shows = Q(completion_a__text__startswith=said) | Q(completion_b__text__startswith=said)
    return Comparison.objects.filter(shows, state="open", pk__in=waiting)


@pytest.mark.parametrize("method", METHODS)
def test_a_rebuild_goes_back_to_the_clean_policy_and_stays_there_when_its_candidate_is_kept(method):
    loop = go_two_rounds(method)
    Loop.objects.update(gate="people")
    first, second = Round.objects.order_by("number")

    round = rebuild_without(loop.project, User.objects.get(username="ida"), user=None)

    assert (round.base, Loop.objects.get().policy) == (first.candidate, first.candidate)
    assert Round.objects.get(pk=second.pk).decision == "rolled_back"
    assert go_round(round).state == "succeeded"
    judge(loop.project, 60)
    life.advance_loop(loop.pk)
    round.refresh_from_db()
    assert (round.decision, life.current_policy(Loop.objects.get())) == ("kept", first.candidate)
    assert f"votes on completions of {round.candidate} against those of {first.candidate}." in round.reasons[0]
    assert names(lineage.trace_back(round.candidate), "labeler") == ["lea"]
    assert Round.objects.order_by("-number")[0].base == first.candidate


def test_no_waiting_pair_of_a_policy_that_learned_from_her_is_claimed_after_a_rebuild():
    loop = go_two_rounds("best_of_n")
    first, second = Round.objects.order_by("number")
    lea, ida = (User.objects.get(username=name) for name in ("lea", "ida"))
    held = claim_slot(loop.project, lea)
    queue_pairs(loop.project, 3)
    tainted = set(list_shown(second.candidate))
    assert held.comparison in tainted
    assert len(tainted) == second.n_queued == 6

    rebuild_without(loop.project, ida, user=None)

    Slot.objects.filter(pk=held.pk).free_up()
    assert set(Comparison.objects.filter(state="retired")) == tainted
    assert not list_shown(second.candidate).exists()
    assert judge_all(loop.project, lea, preference=-2) == 3
    facts = {"policy": str(first.candidate), "without": "ida", "retired": 6}
    event = AuditEvent.objects.get(verb="loop.rebuild")
    assert (event.before, event.after) == ({"policy": str(second.candidate)}, facts)


@pytest.fixture
def waiting():
    """A loop whose first candidate, taught by lea, waits for people's votes."""
    loop = make_circle(gate="people")
    make_policy(loop.project)
    life.start_loop(loop)
    judge(loop.project, 4)
    go_on(loop)
    return loop


def test_a_candidate_that_waits_for_votes_is_never_promoted_once_it_is_rebuilt_without_her(waiting):
    candidate = Round.objects.get().candidate

    round = rebuild_without(waiting.project, User.objects.get(username="lea"), user=None)

    first = Round.objects.order_by("number")[0]
    assert (first.candidate, first.decision, first.reasons[-1]) == (candidate, "rolled_back", "Rebuilt without lea.")
    assert (round.base.name, Loop.objects.get().policy.name) == ("sft", "sft")


def test_a_candidate_she_has_no_part_in_is_decided_about_before_a_rebuild(waiting):
    ida = User.objects.create_user("ida")
    add_member(waiting.project, ida, role="labeler")

    round = rebuild_without(waiting.project, ida, user=None)

    first = Round.objects.order_by("number")[0]
    assert (first.decision, first.reasons[-1]) == ("kept", "A rebuild was begun before it had its votes.")
    assert (round.base.name, Comparison.objects.filter(state="retired").count()) == ("sft", 0)


def test_a_rebuild_that_is_refused_decides_and_retires_nothing(waiting):
    ida = User.objects.create_user("ida")
    add_member(waiting.project, ida, role="labeler")
    Round.objects.create(project=waiting.project, number=2, stages=["sample"], base=Loop.objects.get().policy)

    for labeler in (ida, User.objects.get(username="lea")):
        with pytest.raises(NotReady, match="a round of Circle is running"):
            rebuild_without(waiting.project, labeler, user=None)

    assert Round.objects.get(number=1).decision == ""
    assert not Comparison.objects.filter(state="retired").exists()
    assert not Membership.objects.filter(is_quarantined=True).exists()


def test_an_annotator_that_learned_from_her_has_no_say_in_a_rebuild(house, project, noa):  # noqa: F811
    add_checked(project, checkpoint=house["two"])
    Loop.objects.create(project=project, policy=house["two"], rule={"include": ["own", "ai:clara"], "seed": 7})

    round = rebuild_without(project, noa, user=None)

    assert Loop.objects.get().rule == {"include": ["own"], "seed": 7}
    assert read_terms(round).rule == {"include": ["own"], "seed": 7, "exclude_labelers": ["noa"]}


@pytest.mark.parametrize("method", Loop.Method.values)
def test_where_nobody_else_has_judged_what_the_policy_has_not_learned_a_rebuild_asks_and_does_not_fail(method):
    loop = make_circle(method=method)
    make_policy(loop.project)
    life.start_loop(loop)
    judge(loop.project, 4)
    go_on(loop)

    round = rebuild_without(loop.project, User.objects.get(username="lea"), user=None)

    assert tell_rebuild(round, User.objects.get(username="lea")).startswith("asks about new completions of sft")
    assert go_round(round).state == "succeeded"
    round.refresh_from_db()
    assert (round.candidate, round.n_queued > 0) == (None, True)
    loop.refresh_from_db()
    assert (loop.state, loop.policy.name) == ("running", "sft")
