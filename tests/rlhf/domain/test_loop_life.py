from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.domain.people import add_member
from labeling.models import AuditEvent, Comparison, Judgment, Project, Slice, Slot, User
from rlhf.domain import listening, runs
from rlhf.domain import loop as life
from rlhf.domain.counting import count_new_judgments, measure_agreement
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.promoting import roll_back
from rlhf.domain.standing import Stage, read_standing
from rlhf.models import Loop, Round, Run, Sample
from tests.labeling.votes import say
from tests.rlhf.domain.circle import fill_quota, go_round, judge, make_circle, make_policy, queue_pairs, succeed

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


@pytest.fixture
def loop():
    loop = make_circle()
    make_policy(loop.project)
    return loop


def run_loop(loop, n_rounds):
    """Let a running loop go round with a labeler who judges what it waits for; return the rounds."""
    for _ in range(n_rounds):
        fill_quota(loop)
        life.advance_loop(loop.pk)
        round = life.find_running(loop.project)
        assert round, Loop.objects.get(pk=loop.pk).cause
        go_round(round)
    return list(Round.objects.filter(project=loop.project).order_by("number"))


def test_a_running_loop_goes_round_by_itself_and_each_round_starts_from_the_policy_before(loop):
    life.start_loop(loop)

    first, second = run_loop(loop, 2)

    assert [first.state, second.state] == ["succeeded", "succeeded"]
    assert (first.decision, second.base, second.candidate) == ("promoted", first.candidate, Loop.objects.get().policy)
    assert second.reasons == ["The gate is open: every policy passes."]


def test_half_of_the_pairs_show_the_policy_before_on_their_other_side(loop):
    life.start_loop(loop)

    (round,) = run_loop(loop, 1)

    texts = [
        {row.completion_a.text.split(" says")[0], row.completion_b.text.split(" says")[0]}
        for row in Comparison.objects.filter(priority=1)
    ]
    assert sum(len(each) == 2 for each in texts) == round.counts["duels"] == 3
    assert (len(texts), round.n_queued) == (6, 6)
    drawn = Sample.objects.filter(completion__isnull=False).values_list("checkpoint__name", flat=True)
    assert set(drawn) == {"sft", str(round.candidate)}


def test_what_a_loop_waits_for_is_said_in_words_with_figures(loop, ada):
    waits = lambda: read_standing(loop.project).wait  # noqa: E731 -- asked again after every step
    assert waits() == "stopped: it begins no round by itself"

    life.start_loop(loop)
    judge(loop.project, 1)
    queue_pairs(loop.project, 5)
    assert waits() == "waits for 3 more judgments of 4 on any pair"

    judge(loop.project, 3)
    assert waits() == "has the 4 judgments it needs and is about to begin the next round"
    life.advance_loop(loop.pk)
    assert waits() == "round 1 is about to start: reward model"
    life.advance_loop(loop.pk)
    assert waits() == f"round 1 waits for a learning worker to take up reward model (run {Run.objects.get().pk})"
    life.pause_loop(Loop.objects.get(), user=ada, because="the guideline changes")
    assert waits() == "paused by ada: the guideline changes"


def test_a_quota_counts_judgments_on_its_slice_alone(loop):
    loop.slice = Slice.objects.create(project=loop.project, name="code")
    loop.save()
    queue_pairs(loop.project, 4)
    code, other = (Comparison.objects.order_by("id")[place] for place in (0, 1))
    code.prompt.slice = loop.slice
    code.prompt.save()
    judge(loop.project, 4)

    assert count_new_judgments(loop.project) == 1
    assert read_standing(loop.project).n_new == 1
    assert Judgment.objects.filter(comparison=other).exists()
    life.start_loop(loop)
    queue_pairs(loop.project, 1)
    words = "waits for 3 more judgments of 4 on any pair of slice code"
    assert read_standing(loop.project).wait.split(";")[0] == words


def test_rounds_of_a_slice_draw_its_prompts(loop):
    loop.slice = Slice.objects.create(project=loop.project, name="code")
    loop.save()
    wanted = list(loop.project.prompts.order_by("id")[:8])
    loop.project.prompts.filter(pk__in=[prompt.pk for prompt in wanted]).update(slice=loop.slice)
    queue_pairs(loop.project, 4)
    loop.project.prompts.filter(messages__0__content__startswith="Pair").update(slice=loop.slice)
    life.start_loop(loop)

    run_loop(loop, 1)

    assert set(Sample.objects.values_list("prompt__slice__name", flat=True)) == {"code"}


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_paused_loop_starts_nothing_until_it_is_resumed(loop, state):
    judge(loop.project, 4)
    if state == "running":
        life.start_loop(loop)
    life.pause_loop(loop)

    life.advance_loop(loop.pk)
    assert not Round.objects.exists()
    life.resume_loop(loop)
    life.advance_loop(loop.pk)

    assert Round.objects.get().state == "running"


def test_a_pause_in_the_middle_of_a_round_keeps_the_next_stage_from_starting(loop):
    life.start_loop(loop)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    life.advance_loop(loop.pk)
    life.pause_loop(loop)
    succeed(Run.objects.get())

    life.advance_loop(loop.pk)
    assert Run.objects.count() == 1
    life.resume_loop(loop)
    life.advance_loop(loop.pk)

    assert [run.kind for run in Run.objects.order_by("id")] == ["reward", "dpo"]


def test_a_stopped_loop_lets_its_round_go_to_the_end_and_begins_no_other(loop):
    life.start_loop(loop)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    life.stop_loop(loop)

    go_round(Round.objects.get())
    judge(loop.project, 4)
    life.advance_loop(loop.pk)

    assert [round.state for round in Round.objects.all()] == ["succeeded"]


def test_a_step_takes_one_stage_and_the_loop_is_paused_after_it(loop, ada):
    judge(loop.project, 4)

    life.step_loop(loop, user=ada)
    assert [run.kind for run in Run.objects.all()] == ["reward"]
    with pytest.raises(NotReady, match="is queued: step again when it is over"):
        life.step_loop(Loop.objects.get())
    succeed(Run.objects.get())
    life.step_loop(Loop.objects.get())

    assert [run.kind for run in Run.objects.order_by("id")] == ["reward", "dpo"]
    assert Loop.objects.get().cause == "paused by ada: to go step by step"


def test_a_step_that_is_refused_leaves_the_loop_stopped(loop):
    with pytest.raises(NotReady, match="0 of the 4 new judgments a round needs"):
        life.step_loop(loop)

    assert (Loop.objects.get().state, Loop.objects.get().cause) == ("stopped", "")
    assert not AuditEvent.objects.filter(verb__startswith="loop.").exists()


def test_a_round_by_hand_from_the_middle_goes_to_its_end_and_stands(loop):
    judge(loop.project, 4)
    life.step_loop(loop)

    round = life.start_round(loop.project)
    for run in round.runs.filter(state="queued"):
        succeed(run)
    go_round(round)

    assert (Round.objects.get().state, Loop.objects.get().state) == ("succeeded", "stopped")


def test_who_does_what_is_already_so_is_told(loop):
    with pytest.raises(NotReady, match="the loop of Circle is stopped already"):
        life.stop_loop(loop)
    life.start_loop(loop)
    with pytest.raises(NotReady, match="is running already"):
        life.resume_loop(loop)
    with pytest.raises(NotReady, match="goes by itself: pause it before you step"):
        life.step_loop(loop)
    assert AuditEvent.objects.filter(verb__startswith="loop.").count() == 1


def test_a_loop_without_a_policy_does_not_start():
    with pytest.raises(NotReady, match="has no policy yet"):
        life.start_loop(make_circle())


def test_a_failed_round_pauses_the_loop_with_its_cause_and_resuming_tries_again(loop):
    life.start_loop(loop)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    life.advance_loop(loop.pk)
    runs.end_run(runs.claim_run(Run.objects.get().pk), Run.State.FAILED, cause="out of memory")

    life.advance_loop(loop.pk)
    loop.refresh_from_db()
    assert (loop.state, loop.cause) == ("paused", "round 1 failed: reward model failed. out of memory")
    life.resume_loop(loop)
    life.advance_loop(loop.pk)

    assert list(Round.objects.order_by("number").values_list("number", "state")) == [(1, "failed"), (2, "running")]


def test_a_loop_stops_after_its_rounds(loop):
    Loop.objects.update(max_rounds=2)
    life.start_loop(loop)
    run_loop(loop, 2)

    judge(loop.project, 4)
    life.advance_loop(loop.pk)

    loop.refresh_from_db()
    assert (loop.state, loop.cause, Round.objects.count()) == ("stopped", "stopped: it went its 2 rounds", 2)


def test_an_empty_queue_is_filled_again_without_learning(loop):
    life.start_loop(loop)

    life.advance_loop(loop.pk)
    round = go_round(Round.objects.get())

    assert (round.stages, round.candidate, round.n_queued) == (["sample"], None, 6)
    assert (Slot.objects.free().count(), Loop.objects.get().policy) == (6, round.base)
    life.advance_loop(loop.pk)
    assert Round.objects.count() == 1


def test_a_refill_that_finds_no_pair_pauses_the_loop_with_what_became_of_its_samples(loop):
    life.start_loop(loop)
    life.advance_loop(loop.pk)
    round = Round.objects.get()
    life.advance_loop(loop.pk)
    succeed(Run.objects.get())
    Sample.objects.update(text="The same to everybody.")

    life.advance_loop(loop.pk)
    life.advance_loop(loop.pk)

    loop.refresh_from_db()
    n = Sample.objects.count()
    assert (Round.objects.get().state, Round.objects.get().n_queued, loop.state) == ("succeeded", 0, "paused")
    assert loop.cause == (
        f"round {round.number} found no new pair to ask about ({n} samples, {n // 2} said twice): "
        "add prompts or draw more completions of each, then resume"
    )


def test_labelers_who_disagree_hold_the_round_back_and_the_loop_says_so(loop):
    Loop.objects.update(min_agreement=0.8)
    other = User.objects.create_user("otto")
    add_member(loop.project, other, role="labeler")
    life.start_loop(loop)
    judge(loop.project, 4)
    for number, judgment in enumerate(Judgment.objects.order_by("id")):
        strength = judgment.strength if number == 0 else -judgment.strength
        say(judgment.comparison, other, strength)

    life.advance_loop(loop.pk)

    assert not Round.objects.exists()
    assert read_standing(loop.project).wait.startswith(
        "labelers agree in 25% of 4 pairs of votes since the last round, and 80% is asked for"
    )


def test_those_asked_because_others_disagree_make_no_disagreement_of_their_own(loop):
    others = [User.objects.create_user(name) for name in ("otto", "tina")]
    for other in others:
        add_member(loop.project, other, role="labeler")
    life.start_loop(loop)
    judge(loop.project, 4)
    for number, judgment in enumerate(Judgment.objects.order_by("id")):
        if number == 0:
            say(judgment.comparison, others[0], -judgment.strength)
            say(judgment.comparison, others[1], judgment.strength, is_conditional=True)
        else:
            say(judgment.comparison, others[0], judgment.strength)

    assert measure_agreement(loop) == (0.75, 4)


def test_the_settings_of_a_round_are_those_of_its_beginning(loop):
    life.start_loop(loop)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    Loop.objects.update(method="ppo", n_pairs=1, gate="figures")

    round = go_round(Round.objects.get())

    assert (round.stages, round.n_queued) == (["reward", "dpo", "sample", "sample:previous"], 6)


def test_best_of_n_learns_the_sample_that_scores_highest(loop):
    Loop.objects.update(method="best_of_n", previous_share=0)
    life.start_loop(loop)

    (round,) = run_loop(loop, 1)

    assert round.stages == ["reward", "sample:best", "score:best", "sft", "sample"]
    sft = round.runs.get(kind="sft")
    assert (sft.base.name, round.candidate) == ("sft", sft.checkpoint)
    best, queued = round.runs.get(part="best", kind="sample"), round.runs.get(part="", kind="sample")
    assert (best.config["n"], queued.config["n"]) == (8, 2)
    assert not set(best.samples.values_list("prompt")) & set(queued.samples.values_list("prompt"))


def test_dpo_learns_what_people_judged_and_what_their_reward_model_ranks(loop):
    settings = {"dpo": {"epochs": 3.0, "beta": 0.2}, "dpo:ranked": {"epochs": 2.0}}
    Loop.objects.update(method="ranked", previous_share=0, settings=settings)
    life.start_loop(loop)

    (round,) = run_loop(loop, 1)

    assert round.stages == ["reward", "sample:ranked", "score:ranked", "dpo:ranked", "sample"]
    labels = [Stage(name, None).label for name in round.stages]
    assert labels[1:4] == ["sampling to rank", "scoring of pairs to rank", "DPO on what was ranked too"]
    dpo, ranked = round.runs.get(kind="dpo"), round.runs.get(part="ranked", kind="sample")
    assert (dpo.base.name, round.candidate, ranked.config["n"]) == ("sft", dpo.checkpoint, 6)
    assert (dpo.config["epochs"], dpo.config["beta"]) == (2.0, 0.2)
    assert round.runs.get(part="ranked", kind="score").base == round.runs.get(kind="reward").checkpoint
    seen_by_nobody = [row for row in open_split(dpo.dataset, "train") if row["source"] == "ranked"]
    assert len(seen_by_nobody) == dpo.dataset.counts["ranked"] > 0
    assert {row["chosen"][0]["content"][-2:] + row["rejected"][0]["content"][-2:] for row in seen_by_nobody} == {"5.0."}


def test_ppo_learns_against_the_reward_model_of_its_round(loop):
    Loop.objects.update(method="ppo", previous_share=0)
    life.start_loop(loop)

    (round,) = run_loop(loop, 1)

    ppo = round.runs.get(kind="ppo")
    assert (ppo.reward_model, ppo.base.name) == (round.runs.get(kind="reward").checkpoint, "sft")


def test_going_back_restores_a_policy_and_retires_what_came_after(loop, ada):
    life.start_loop(loop)
    first, *_ = run_loop(loop, 3)
    n_judged = Judgment.objects.count()
    waiting = set(Slot.objects.free().filter(priority__gt=1).values_list("comparison", flat=True))

    n_retired = roll_back(Loop.objects.get(), first.candidate, user=ada)

    decisions = Round.objects.order_by("number").values_list("decision", flat=True)
    assert (Loop.objects.get().policy, list(decisions)) == (first.candidate, ["promoted", "rolled_back", "rolled_back"])
    assert set(Comparison.objects.filter(state="retired").values_list("pk", flat=True)) == waiting
    assert (n_retired, Judgment.objects.count()) == (len(waiting), n_judged)
    assert Round.objects.get(number=3).reasons[-1] == f"Rolled back to {first.candidate} by ada."
    (*_, fourth) = run_loop(loop, 1)
    assert fourth.base == first.candidate


def test_going_back_ends_the_round_under_way_and_cancels_its_run(loop):
    life.start_loop(loop)
    (first,) = run_loop(loop, 1)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    life.advance_loop(loop.pk)

    roll_back(Loop.objects.get(), first.base)

    second = Round.objects.get(number=2)
    assert (second.state, second.cause) == ("failed", "rolled back to sft")
    assert second.runs.get().state == "cancelled"


def test_one_goes_back_to_promoted_policies_only(loop):
    life.start_loop(loop)
    (first,) = run_loop(loop, 1)
    stranger = make_policy(loop.project, name="stranger")

    with pytest.raises(NotReady, match=f"stranger was not promoted in Circle: go back to one of {first.candidate}"):
        roll_back(Loop.objects.get(), stranger)


def test_a_hundred_waiting_loops_cost_a_sweep_as_much_as_one(django_assert_num_queries):
    def add_loops(n):
        for _ in range(n):
            loop = make_circle(f"p{Project.objects.count()}", n_prompts=0)
            make_policy(loop.project, name=f"policy {loop.pk}")
            queue_pairs(loop.project, 1)
            Loop.objects.filter(pk=loop.pk).update(state="running")

    add_loops(1)
    with CaptureQueriesContext(connection) as one:
        listening.sweep_loops()
    add_loops(99)

    with django_assert_num_queries(len(one)):
        listening.sweep_loops()
    assert (len(one), listening.list_due()) == (5, [])


def test_the_sweeper_rings_for_what_is_due_and_nothing_else(loop):
    idle = make_circle("idle")
    make_policy(idle.project, name="idle")
    queue_pairs(idle.project, 3)
    Loop.objects.update(state="running")
    judge(loop.project, 4)
    queue_pairs(loop.project, 1)

    assert listening.list_due() == [loop.pk]


@pytest.mark.django_db(transaction=True)
def test_the_vote_that_reaches_the_threshold_rings_and_no_other(loop, monkeypatch):
    rung = []
    monkeypatch.setattr(listening, "ring", lambda task, pk: rung.append((task, pk, Judgment.objects.count())))
    Loop.objects.update(state="running")
    queue_pairs(loop.project, 10)

    judge(loop.project, 7)

    assert rung == [("rlhf.advance_loop", loop.pk, 4)]


@pytest.mark.django_db(transaction=True)
def test_votes_before_a_loop_is_let_go_leave_it_no_less_attentive(loop, monkeypatch):
    rung = []
    monkeypatch.setattr(listening, "ring", lambda task, pk: rung.append(task))
    queue_pairs(loop.project, 10)
    with CaptureQueriesContext(connection) as captured:
        judge(loop.project, 3)
    n_asked = sum('"rlhf_loop"' in row["sql"] for row in captured.captured_queries)

    life.start_loop(loop)
    judge(loop.project, 1)

    assert (n_asked, rung) == (1, ["rlhf.advance_loop"])


def test_advancing_a_loop_twice_at_every_moment_does_everything_once(loop):
    life.start_loop(loop)
    judge(loop.project, 4)
    for _ in range(12):
        life.advance_loop(loop.pk)
        life.advance_loop(loop.pk)
        for run in Run.objects.filter(state="queued"):
            succeed(run)

    round = Round.objects.get()
    assert [run.kind for run in round.runs.order_by("id")] == ["reward", "dpo", "sample", "sample"]
    assert (round.state, Comparison.objects.filter(priority=1).count()) == ("succeeded", 6)


def test_a_queue_half_filled_by_a_killed_worker_is_filled_up(loop, monkeypatch):
    life.start_loop(loop)
    judge(loop.project, 4)
    life.advance_loop(loop.pk)
    round = Round.objects.get()
    while round.runs.filter(state="succeeded").count() < 4:
        life.advance_loop(loop.pk)
        for run in round.runs.filter(state="queued"):
            succeed(run)
    life.advance_loop(loop.pk)
    queued = set(Comparison.objects.filter(priority=1).values_list("content_sha", flat=True))
    Round.objects.update(state="running", finished_at=None)
    Slot.objects.filter(priority=1, comparison__in=Comparison.objects.filter(priority=1)[:3]).delete()
    Sample.objects.update(completion=None)
    Comparison.objects.filter(slots=None).delete()

    life.advance_loop(loop.pk)

    assert set(Comparison.objects.filter(priority=1).values_list("content_sha", flat=True)) == queued
    assert Sample.objects.filter(completion__isnull=False).count() >= 12
    assert timezone.now() - Round.objects.get().finished_at < timedelta(minutes=1)
