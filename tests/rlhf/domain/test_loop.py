from __future__ import annotations

import json
import uuid

import pytest
from django.utils import timezone

from labeling.domain.assignment import claim_slot, make_lease_token
from labeling.domain.judging import Vote, record_judgment
from labeling.domain.pairing import Pair, add_prompt, propose_comparisons
from labeling.domain.people import add_member
from labeling.models import Comparison, Judgment, Membership, Project, User
from rlhf.domain import loop, rounds, runs
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.counting import count_new_judgments
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.sampling import record_samples
from rlhf.domain.standing import read_standings
from rlhf.models import Checkpoint, Loop, Round, Run
from tests.labeling.rows import revise
from tests.labeling.votes import say

pytestmark = [pytest.mark.django_db, pytest.mark.database]

MANIFEST = "f" * 64


@pytest.fixture
def labeler():
    return User.objects.create_user("lea")


@pytest.fixture
def project(labeler):
    project = Project.objects.create(slug="circle", name="Circle")
    Loop.objects.create(
        project=project,
        threshold=4,
        n_pairs=3,
        settings={"dpo": {"beta": 0.3}},
        strategy="random",
        previous_share=0,
        gate="open",
    )
    add_member(project, labeler, role="labeler")
    for number in range(6):
        add_prompt(project, [{"role": "user", "content": f"What is {number}?"}])
    return project


@pytest.fixture
def policy(project):
    return Checkpoint.objects.create(project=project, name="sft", kind="policy", path="p", manifest_sha256=MANIFEST)


def judge(project, labeler, n):
    """Queue n pairs of which the labeler always finds A better."""
    pairs = [
        Pair(messages=[{"role": "user", "content": f"Pair {number}"}], text_a="Yes, please.", text_b=f"No {number}.")
        for number in range(n)
    ]
    propose_comparisons(project, pairs)
    for _ in range(n):
        vote_for_a(claim_slot(project, labeler), labeler)


def judge_more(project, labeler):
    """Judge what the round queued, and four pairs more; a round needs no more than the first of these."""
    Loop.objects.update(threshold=1)
    pairs = [
        Pair(messages=[{"role": "user", "content": f"More {number}"}], text_a="Yes, please.", text_b=f"No {number}.")
        for number in range(4)
    ]
    propose_comparisons(project, pairs)
    while slot := claim_slot(project, labeler):
        vote_for_a(slot, labeler)


def vote_for_a(slot, labeler):
    record_judgment(
        slot.pk,
        labeler,
        idempotency_key=uuid.uuid4(),
        lease_token=make_lease_token(slot.pk, labeler),
        vote=Vote(preference=-2 if slot.a_shown_left else 2),
    )


def succeed(run):
    """End a run as its worker would, with the checkpoint or the samples it made."""
    claimed = runs.claim_run(run.pk)
    runs.end_run(claimed, Run.State.SUCCEEDED)
    if run.kind == "sample":
        write_samples(claimed)
    else:
        Checkpoint.objects.create(
            project=run.project,
            run=claimed,
            attempt=claimed.attempt,
            name=f"{run.kind}-{run.pk}",
            kind="reward" if run.kind == "reward" else "policy",
            path="p",
            manifest_sha256=MANIFEST,
        )


def write_samples(run):
    folder = run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    prompts = run.project.prompts.filter(messages__0__content__startswith="What is")[:3]
    rows = [
        {"prompt_id": str(prompt.pk), "index": index, "text": text, "n_tokens": 3, "finished": True, "seed": 1}
        for prompt, texts in zip(prompts, [("One.", "Two."), ("Same.", "Same."), ("", "Three.")], strict=True)
        for index, text in enumerate(texts)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record_samples(run, folder / "samples.jsonl")


def go_round(round):
    """Let every stage succeed and return the round at its end."""
    for _ in round.stages:
        rounds.advance_round(round.pk)
        succeed(round.runs.get(state="queued"))
    return rounds.advance_round(round.pk)


def test_a_round_waits_for_its_threshold_and_says_how_many_are_missing(project, labeler, policy):
    judge(project, labeler, 3)

    with pytest.raises(NotReady, match="3 of the 4 new judgments a round needs"):
        loop.start_round(project)


def test_a_round_needs_a_policy(project, labeler):
    judge(project, labeler, 4)

    with pytest.raises(NotReady, match="has no policy yet"):
        loop.start_round(project)


def test_a_second_round_is_refused_while_one_is_running(project, labeler, policy):
    judge(project, labeler, 4)
    loop.start_round(project)
    Loop.objects.update(threshold=1)
    judge_more = Round.objects.get()

    with pytest.raises(NotReady, match="a round of Circle is running"):
        rounds.open_round(project)

    assert judge_more.state == "running"


def test_a_round_goes_through_reward_dpo_and_sampling_and_fills_the_queue(project, labeler, policy):
    judge(project, labeler, 4)
    n_before = Comparison.objects.count()

    round = go_round(loop.start_round(project))

    stages = [(run.kind, run.state) for run in round.runs.order_by("id")]
    assert stages == [("reward", "succeeded"), ("dpo", "succeeded"), ("sample", "succeeded")]
    assert (round.state, round.n_queued, Comparison.objects.count() - n_before) == ("succeeded", 1, 1)


def test_the_stages_of_a_round_build_on_each_other(project, labeler, policy):
    judge(project, labeler, 4)

    round = go_round(loop.start_round(project))

    reward, dpo, sample = round.runs.order_by("id")
    assert (reward.base, dpo.base, sample.base) == (policy, policy, dpo.checkpoint)
    assert (dpo.config["beta"], dpo.config["seed"]) == (0.3, 43)


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_a_scorer_of_words_reads_likelihood_by_the_policy_before_any_judgment(head, project, labeler, policy):
    own = loop.get_loop(project)
    own.settings = own.settings | {"reward": {"head": head}}
    own.save(update_fields=["settings"])
    judge(project, labeler, 4)
    go_round(loop.start_round(project))
    judge_more(project, labeler)

    round = go_round(loop.start_round(project))

    reward, dpo, _ = round.runs.order_by("id")
    assert dpo.base != policy
    assert reward.base == (policy if head == "tokens" else dpo.base)
    assert reward.config["head"] == head


def test_the_reward_model_learns_from_all_judgments_and_the_policy_from_the_new_ones(project, labeler, policy):
    judge(project, labeler, 4)
    go_round(loop.start_round(project))
    judge_more(project, labeler)

    round = go_round(loop.start_round(project))

    reward, dpo, _ = round.runs.order_by("id")
    assert reward.dataset.n_train + reward.dataset.n_test == 9
    assert dpo.dataset.n_train + dpo.dataset.n_test == 5


def test_the_next_pair_a_labeler_gets_is_one_of_the_new_policy(project, labeler, policy):
    judge(project, labeler, 4)
    propose_comparisons(
        project, [Pair(messages=[{"role": "user", "content": "old"}], text_a="Older.", text_b="Oldest.")]
    )
    go_round(loop.start_round(project))

    slot = claim_slot(project, labeler)

    assert {slot.comparison.completion_a.text, slot.comparison.completion_b.text} == {"One.", "Two."}


def test_advancing_twice_at_every_step_starts_every_stage_once(project, labeler, policy):
    judge(project, labeler, 4)
    round = loop.start_round(project)

    for _ in round.stages:
        rounds.advance_round(round.pk)
        rounds.advance_round(round.pk)
        succeed(round.runs.get(state="queued"))
    rounds.advance_round(round.pk)
    again = rounds.advance_round(round.pk)

    assert (round.runs.count(), again.state, again.n_queued) == (3, "succeeded", 1)


def test_what_the_reward_model_is_tested_on_no_policy_learned(project, labeler, policy):
    judge(project, labeler, 40)

    round = go_round(loop.start_round(project))

    reward, dpo, _ = round.runs.order_by("id")
    tested = {row["group"] for row in open_split(reward.dataset, "test")}
    learned = {row["group"] for row in open_split(dpo.dataset, "train")}
    assert (len(tested) > 2, len(learned) > 2, tested & learned) == (True, True, set())


def test_a_failed_stage_fails_the_round_with_its_cause(project, labeler, policy):
    judge(project, labeler, 4)
    round = loop.start_round(project)
    rounds.advance_round(round.pk)
    claimed = runs.claim_run(round.runs.get().pk)
    runs.end_run(claimed, Run.State.FAILED, cause="non-finite loss at step 3")

    failed = rounds.advance_round(round.pk)

    assert (failed.state, failed.cause) == ("failed", "reward model failed. non-finite loss at step 3")


def test_judgments_of_a_failed_round_count_for_the_next(project, labeler, policy):
    judge(project, labeler, 4)
    round = loop.start_round(project)
    Round.objects.filter(pk=round.pk).update(state="failed", finished_at=timezone.now())

    assert count_new_judgments(project) == 4


def test_a_finished_round_starts_the_count_anew(project, labeler, policy):
    judge(project, labeler, 4)
    go_round(loop.start_round(project))

    assert count_new_judgments(project) == 0


def test_probes_revisions_and_labelers_in_quarantine_bring_no_round_nearer(project, labeler, policy):
    suspect = User.objects.create_user("sue")
    add_member(project, suspect, role="labeler")
    judge(project, labeler, 3)
    first, second, third = Judgment.objects.order_by("id")
    revise(first, labeler)
    say(second.comparison, labeler, -1, reason="repeat")
    say(third.comparison, suspect, -1)
    Membership.objects.filter(user=suspect).update(is_quarantined=True)

    assert count_new_judgments(project) == 3
    assert [standing.n_new for standing in read_standings([project])] == [3]
    Round.objects.create(project=project, stages=[], number=1, state="succeeded", upto=third.pk)
    assert count_new_judgments(project) == 0
    assert [standing.n_new for standing in read_standings([project])] == [0]
