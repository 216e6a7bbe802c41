from __future__ import annotations

import math
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from labeling.domain.assignment import claim_slot
from labeling.domain.people import add_member
from labeling.models import AuditEvent, Comparison, Slot, User
from rlhf.domain.freshness import STALE_PRIORITY, apply_stale_rule, count_duels, count_fresh
from rlhf.domain.promoting import is_votes_dry
from rlhf.domain.queueing import queue_round, queue_samples
from rlhf.domain.terms import Terms
from rlhf.models import Round, Run, Sample
from tests.rlhf.conftest import make_checkpoint, make_run
from tests.rlhf.domain.circle import judge, make_circle, make_policy

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def loop():
    return make_circle(n_prompts=4)


def draw(project, policy, texts, *, round=None, part="", scores=()):
    """Samples of a policy: for each prompt, in order, its texts."""
    run = make_run(project, kind="sample", state="succeeded", base=policy, round=round, part=part)
    for prompt, said in zip(project.prompts.order_by("id"), texts, strict=False):
        for index, text in enumerate(said):
            Sample.objects.create(
                run=run,
                checkpoint=policy,
                prompt=prompt,
                index=index,
                text=text,
                n_tokens=2,
                finished=True,
                decoding={},
                seed=1,
                scores=list(scores),
            )
    return run


def make_round(project, number=1, **fields):
    terms = Terms(n_pairs=4, strategy="random", previous_share=0.5).to_json()
    values = {"state": "running", "stages": [], "terms": terms} | fields
    return Round.objects.create(project=project, number=number, **values)


def test_what_is_empty_said_twice_or_names_its_writer_is_dropped_and_counted(loop):
    policy, round = make_policy(loop.project), make_round(loop.project)
    texts = [("Yes.", "No."), ("Same.", "Same."), ("", "Lone."), ("As an AI language model, no.", "I'm Claude.")]

    counts = queue_round(round, draw(loop.project, policy, texts, round=round), None)

    shown = Comparison.objects.get()
    assert {shown.completion_a.text, shown.completion_b.text} == {"Yes.", "No."}
    dropped = {name: counts[name] for name in ("sampled", "empty", "same", "identity", "queued", "duels")}
    assert dropped == {"sampled": 8, "empty": 1, "same": 1, "identity": 2, "queued": 1, "duels": 0}


def test_a_round_queued_twice_queues_nothing_more(loop):
    policy, round = make_policy(loop.project), make_round(loop.project)
    run = draw(loop.project, policy, [("A.", "B.", "C.")] * 4, round=round)

    first, second = (queue_round(round, run, None) for _ in range(2))

    assert (first, Comparison.objects.count()) == (second, 4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_doubt_is_that_of_the_probability_a_reward_model_was_calibrated_to(loop, temperature: float):
    policy, round = make_policy(loop.project), make_round(loop.project)
    Round.objects.filter(pk=round.pk).update(terms=Terms(n_pairs=4, strategy="uncertain", random_share=0.1).to_json())
    round.refresh_from_db()
    run = draw(loop.project, policy, [("A.", "B.")] * 4, round=round, scores=[3.0])
    Sample.objects.filter(index=1).update(scores=[1.0])
    trained = make_run(loop.project, kind="reward", state="succeeded", result={"temperature": temperature})
    reward_model = make_checkpoint(loop.project, kind="reward", name="judge", run=trained)
    scored = make_run(loop.project, kind="score", state="succeeded", base=reward_model)

    queue_round(round, run, None, scored=scored)

    p = 1 / (1 + math.exp(-2 / temperature))
    active = Comparison.objects.filter(reason="active")
    assert active.exists()
    assert [comparison.score for comparison in active] == [pytest.approx(4 * p * (1 - p))] * len(active)


def test_a_duel_shows_both_policies_and_says_so_to_nobody(loop):
    old, new = make_policy(loop.project, "old"), make_policy(loop.project, "new")
    round = make_round(loop.project, base=old, candidate=new)
    current = draw(loop.project, new, [("New.", "Newer.")] * 4, round=round)
    before = draw(loop.project, old, [("Old.",)] * 4, round=round, part="previous")

    counts = queue_round(round, current, before)

    assert (counts["queued"], counts["duels"], count_duels(round)) == (4, 2, 2)
    assert count_fresh([new.pk]) == {loop.project.pk: 4}
    assert count_fresh([old.pk]) == {loop.project.pk: 2}
    assert {comparison.reason for comparison in Comparison.objects.all()} == {"random"}
    assert {round.n_queued for round in Round.objects.all()} == {0}


def test_duels_that_labelers_hold_are_still_to_be_voted_on(loop):
    before, after = make_policy(loop.project, name="before"), make_policy(loop.project, name="after")
    round = make_round(loop.project, base=before, candidate=after)
    current = draw(loop.project, after, [("New one.", "New two.")] * 4, round=round)
    queue_round(round, current, draw(loop.project, before, [("Old.",)] * 4, round=round, part="previous"))
    n_waiting = count_duels(round)
    lease = {"lease_token": uuid.uuid4(), "lease_until": timezone.now() + timedelta(minutes=5)}
    for slot in Slot.objects.all():
        labeler = User.objects.create_user(f"labeler {slot.pk}")
        add_member(loop.project, labeler, role="labeler")
        Slot.objects.filter(pk=slot.pk).update(state="held", labeler=labeler, **lease)

    assert (n_waiting, count_duels(round), is_votes_dry(round)) == (2, 2, False)


def queue_pairs_of(loop, policy, number, **fields):
    """Queue four pairs of a policy in a round that is over."""
    round = make_round(loop.project, number, **fields)
    texts = [(f"Yes {number}.", f"No {number}.")] * 4
    queue_round(round, draw(loop.project, policy, texts, round=round), None)
    Round.objects.update(state="succeeded")


def queue_candidates(loop, decisions):
    """Queue four pairs of each round's candidate, of which so much was decided; return the policies, the first before."""
    policies = [make_policy(loop.project)]
    for number, decision in enumerate(decisions, start=1):
        policies.append(make_policy(loop.project, f"made in {number}"))
        decided = {"decision": decision, "decided_at": timezone.now() if decision else None}
        queue_pairs_of(loop, policies[-1], number, base=policies[0], candidate=policies[-1], **decided)
    return policies


def test_pairs_of_policies_long_gone_come_last_or_are_retired(loop):
    labeler = User.objects.get()
    queue_candidates(loop, ["promoted", "promoted", "promoted"])
    judge(loop.project, 4)
    terms = Terms(stale_after=2, stale_rule="downrank")

    n_stale = apply_stale_rule(loop.project, terms, number=3)

    assert (n_stale, apply_stale_rule(loop.project, terms, number=3)) == (4, 0)
    assert set(Slot.objects.filter(priority=STALE_PRIORITY).values_list("comparison__priority", flat=True)) == {-1}
    judge(loop.project, 4)
    assert claim_slot(loop.project, labeler).priority == STALE_PRIORITY
    event = AuditEvent.objects.get(verb="comparison.down_rank")
    assert (len(event.after["ids"]), event.after["because"]) == (4, "stale in round 3")
    Slot.objects.filter(state="held").free_up()
    assert apply_stale_rule(loop.project, Terms(stale_after=2, stale_rule="retire"), number=3) == 4
    assert claim_slot(loop.project, labeler) is None


@pytest.mark.parametrize(
    ("decisions", "n_stale"),
    [
        pytest.param(["kept", "kept", "kept"], 0, id="none took the place of the policy they started from"),
        pytest.param(["rolled_back", "rolled_back", ""], 0, id="going back makes nothing older"),
        pytest.param(["kept", "promoted", "kept"], 0, id="one is not two"),
        pytest.param(["promoted", "kept", "promoted"], 4, id="those of the first policy, not of the first candidate"),
        pytest.param(["promoted", "promoted", "promoted"], 8, id="those of the first policy and the first candidate"),
    ],
)
def test_pairs_grow_stale_by_the_policies_promoted_since_theirs_whatever_rounds_went_by(loop, decisions, n_stale):
    first, *_ = queue_candidates(loop, decisions)
    queue_pairs_of(loop, first, 0)
    terms = Terms(stale_after=2, stale_rule="retire")

    assert apply_stale_rule(loop.project, terms, number=3) == n_stale
    assert Comparison.objects.filter(state="retired").count() == n_stale


def test_a_pair_is_as_old_as_the_newer_of_its_policies(loop):
    old, new, newest = (make_policy(loop.project, name) for name in ("old", "new", "newest"))
    is_promoted = {"decision": "promoted", "decided_at": timezone.now()}
    round = make_round(loop.project, base=old, candidate=new, **is_promoted)
    before = draw(loop.project, old, [("Old.",)] * 4, round=round, part="previous")
    queue_round(round, draw(loop.project, new, [("New.", "Newer.")] * 4, round=round), before)
    Round.objects.update(state="succeeded")
    terms = Terms(stale_after=1, stale_rule="retire")

    assert apply_stale_rule(loop.project, terms, number=1) == 0
    make_round(loop.project, 2, base=new, candidate=newest, **is_promoted)
    assert apply_stale_rule(loop.project, terms, number=2) == 4


def test_pairs_that_no_round_drew_never_grow_stale(loop):
    judge(loop.project, 1)
    run = draw(loop.project, make_policy(loop.project), [("Yes.", "No.")] * 2)
    queue_samples(run, priority=0)

    assert apply_stale_rule(loop.project, Terms(stale_after=1, stale_rule="retire"), number=9) == 0
    assert Run.objects.count() == 1
