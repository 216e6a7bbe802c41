"""A loop whose gate is people's: a round's duels are judged by somebody who cannot know whose is whose, and they decide."""

from __future__ import annotations

import re
import uuid

import pytest

from labeling.domain.assignment import claim_slot, make_lease_token
from labeling.domain.judging import Vote, record_judgment
from labeling.models import Comparison, User
from rlhf.domain import loop as life
from rlhf.domain.freshness import count_duels
from rlhf.domain.simulation import count_wanted
from rlhf.domain.standing import read_standing
from rlhf.domain.win_rate import measure_duel
from rlhf.models import Loop, Round, Run
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy

pytestmark = [pytest.mark.django_db, pytest.mark.database]
GATE = {"gate": "people", "gate_votes": 20, "threshold": 40, "n_pairs": 40, "previous_share": 0.6, "n_prompts": 80}


def make_loop(*, found=None, **settings) -> Loop:
    """A running loop that has made its first candidate, whose evaluation found this, and whose pairs wait in the queue."""
    loop = make_circle(**(GATE | settings))
    make_policy(loop.project)
    judge(loop.project, loop.threshold)
    life.start_loop(loop)
    life.advance_loop(loop.pk)
    assert go_round(Round.objects.get(), found=found).state == "succeeded"
    return loop


def judge_texts(project, n, prefer) -> int:
    """Let the labeler judge up to n waiting pairs by their texts alone: prefer(a, b) is below 0 where a is better."""
    labeler = User.objects.get(username="lea")
    for n_judged in range(n):
        slot = claim_slot(project, labeler)
        if slot is None:
            return n_judged
        strength = prefer(slot.comparison.completion_a.text, slot.comparison.completion_b.text)
        record_judgment(
            slot.pk,
            labeler,
            idempotency_key=uuid.uuid4(),
            lease_token=make_lease_token(slot.pk, labeler),
            vote=Vote(preference=strength if slot.a_shown_left else -strength),
        )
    return n


def prefer_words_of(policy):
    """Prefer what this policy says, and of two completions of one policy the first in the alphabet."""
    words = f"Policy {policy.pk} "
    return lambda a, b: (a > b) * 4 - 2 if a.startswith(words) == b.startswith(words) else 2 - a.startswith(words) * 4


def take_turns():
    """Prefer the words of either policy in turn."""
    seen = []

    def prefer(a, b):
        if a.split()[1] == b.split()[1]:
            return -2
        seen.append(a)
        return 2 if (len(seen) % 2) == (a < b) else -2

    return prefer


def test_duels_with_the_policy_before_wait_among_the_pairs():
    make_loop()

    round = Round.objects.get()

    assert (round.n_queued, round.counts["duels"], count_duels(round)) == (40, 24, 24)
    assert (round.decision, Loop.objects.get().policy) == ("", round.base)


def test_a_candidate_that_people_prefer_is_promoted_when_the_quota_is_full():
    loop = make_loop()
    first = Round.objects.get()

    judge_texts(loop.project, 39, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)
    first.refresh_from_db()
    standing = read_standing(loop.project)
    assert (first.decision, first.reasons) == ("", [])
    assert standing.wait == f"waits for 1 more judgments of 40 on pairs by candidate {first.candidate} or policy sft"
    assert standing.verdict == (
        "The gate decides when the next quota is full, by the votes on its completions against those of sft, 20 at least."
    )
    judge_texts(loop.project, 1, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)

    first.refresh_from_db()
    loop.refresh_from_db()
    assert (first.decision, loop.policy) == ("promoted", first.candidate)
    assert read_standing(loop.project).verdict == ""
    assert re.fullmatch(
        f"People prefer {first.candidate} to {first.base} in 100% of 24 votes \\(95% interval [78][0-9]% to 100%\\): the "
        "lower bound is over the 50% the gate asks for.",
        first.reasons[0],
    )
    assert Round.objects.get(number=first.number + 1).base == first.candidate


def test_the_gate_reads_no_vote_on_two_completions_of_one_policy():
    loop = make_loop()
    round = Round.objects.get()
    judge_texts(loop.project, 40, prefer_words_of(round.candidate))

    duel = measure_duel(round.candidate, round.base)

    assert (duel.wins, duel.ties, duel.losses) == (24, 0, 0)


@pytest.mark.parametrize("who", ["previous", "either"])
def test_a_candidate_that_people_do_not_prefer_stays_one_and_the_policy_before_goes_on(who):
    loop = make_loop()
    first = Round.objects.get()
    prefer = prefer_words_of(first.base) if who == "previous" else take_turns()

    judge_texts(loop.project, 40, prefer)
    life.advance_loop(loop.pk)

    first.refresh_from_db()
    loop.refresh_from_db()
    rate = {"previous": "0%", "either": "[3-6][0-9]%"}[who]  # votes are weighed by how likely they were to be asked for
    assert (first.decision, loop.policy) == ("kept", first.base)
    assert re.fullmatch(
        f"People prefer {first.candidate} to {first.base} in {rate} of 24 votes .*: the lower bound is not over the 50% the "
        "gate asks for.",
        first.reasons[0],
    )
    second = Round.objects.get(number=first.number + 1)
    assert second.base == first.base
    second = go_round(second)
    # What is asked about next is the new candidate's, and its duels are with the policy that stayed.
    shown = Comparison.objects.filter(priority=second.number)
    texts = {text.split()[1] for pair in shown for text in (pair.completion_a.text, pair.completion_b.text)}
    assert texts == {str(second.candidate_id), str(first.base_id)}


def test_a_quota_that_is_full_before_the_gate_has_its_votes_waits_and_says_for_how_many():
    loop = make_loop(threshold=12)
    first = Round.objects.get()

    judge_texts(loop.project, 12, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)

    n_votes = measure_duel(first.candidate, first.base).n_votes
    assert 0 < n_votes < 20
    words = f"waits for the gate's word on {first.candidate}: {n_votes} of the 20 votes on completions of"
    assert read_standing(loop.project).wait.startswith(words)
    judge_texts(loop.project, 28, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)
    first.refresh_from_db()
    assert first.decision == "promoted"


def test_a_round_begun_by_hand_before_the_gate_has_its_votes_leaves_a_candidate_and_says_so():
    loop = make_loop(threshold=12)
    first = Round.objects.get()
    judge_texts(loop.project, 12, prefer_words_of(first.candidate))

    second = life.start_round(loop.project)

    first.refresh_from_db()
    assert (first.decision, second.base) == ("kept", first.base)
    assert first.reasons[-1] == "The next round was begun by hand before it had its votes."


def test_a_gate_that_asks_for_more_votes_than_there_are_duels_keeps_the_candidate_with_the_reason():
    loop = make_loop(gate_votes=30)
    first = Round.objects.get()

    judge_texts(loop.project, 40, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)

    first.refresh_from_db()
    assert first.decision == "kept"
    assert first.reasons[0].startswith("24 of the 30 votes on completions of")
    assert first.reasons[-1] == "No more votes on it are to come."


@pytest.mark.parametrize(
    ("result", "alarms", "said"),
    [
        ({"tax/text_rise": 0.3}, [], "Its perplexity on held-out text is 30.0% higher than before: over the 10%"),
        ({}, [{"step": 3, "name": "kl", "words": "It went too far."}], "Alarm of over-optimization: It went too far."),
    ],
)
def test_whom_people_prefer_stays_out_for_what_it_forgot_or_an_alarm(result, alarms, said):
    loop = make_loop()
    first = Round.objects.get()
    Run.objects.filter(round=first, kind="evaluate").update(result=result)
    Run.objects.filter(round=first, kind="dpo").update(alarms=alarms)

    judge_texts(loop.project, 40, prefer_words_of(first.candidate))
    life.advance_loop(loop.pk)

    first.refresh_from_db()
    assert (first.decision, Loop.objects.get().policy) == ("kept", first.base)
    assert any(reason.startswith(said) for reason in first.reasons)


def test_a_candidate_that_has_forgotten_too_much_costs_people_no_vote():
    loop = make_loop(found={"tax/text_rise": 0.3})

    round = Round.objects.get()

    assert (round.decision, Loop.objects.get().policy) == ("kept", round.base)
    assert round.reasons == [
        "Its perplexity on held-out text is 30.0% higher than before: over the 10% that is allowed.",
        f"0 of the 20 votes on completions of {round.candidate} against those of sft.",
        "No alarm of over-optimization.",
        "Nobody was asked about it: no vote could have mended that.",
    ]
    # What is asked about instead is what the next round starts from, and it duels with nobody.
    assert (round.stages, round.counts.get("duels", 0)) == (["reward", "dpo", "evaluate", "sample"], 0)
    shown = Comparison.objects.filter(priority=round.number)
    texts = {text.split()[1] for pair in shown for text in (pair.completion_a.text, pair.completion_b.text)}
    assert texts == {str(round.base_id)}
    assert read_standing(loop.project).wait == "waits for 40 more judgments of 40 on pairs by policy sft"


def test_a_candidate_that_has_forgotten_little_is_left_to_people():
    make_loop(found={"tax/text_rise": 0.05})

    round = Round.objects.get()

    assert (round.decision, round.reasons, count_duels(round)) == ("", [], 24)


@pytest.mark.parametrize(("found", "n_asked"), [({"tax/text_rise": 0.3}, 0), ({"tax/text_rise": 0.05}, 20)])
def test_after_the_last_round_the_demo_s_labelers_judge_only_what_the_gate_waits_for(found, n_asked):
    loop = make_loop(found=found, max_rounds=1)

    assert count_wanted(loop) == n_asked


def test_before_the_last_round_the_demo_s_labelers_fill_the_quota_and_then_the_gate_s():
    loop = make_loop(threshold=12)
    first = Round.objects.get()

    wanted = [count_wanted(loop)]
    judge_texts(loop.project, 12, prefer_words_of(first.candidate))
    wanted.append(count_wanted(loop))

    assert wanted == [12, 20]
