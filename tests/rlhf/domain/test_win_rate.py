"""Win rates are read from judgments on samples of two checkpoints, and from nothing else."""

from __future__ import annotations

from itertools import count

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.domain.pairing import propose_comparison
from labeling.domain.people import add_member
from labeling.models import Adjudication, Membership, Prompt, User, Verdict
from rlhf.domain.win_rate import measure_duel, rank_checkpoints
from rlhf.models import AIJudgment, Annotator, Constitution, Sample
from tests.rlhf.conftest import hash_of, judge, make_checkpoint, make_run, message

pytestmark = pytest.mark.django_db
numbers = count(1)
STRENGTHS = {Verdict.A: -2, Verdict.B: 2, Verdict.TIE: 0}


@pytest.fixture
def old(project):
    return make_checkpoint(project, name="old")


@pytest.fixture
def new(project):
    return make_checkpoint(project, name="new")


@pytest.fixture
def people(project):
    """Three who judge: each comparison has one voice of each."""
    users = [User.objects.create_user(name) for name in ("ann", "ben", "cid")]
    for user in users:
        add_member(project, user, role="labeler")
    return users


def make_meeting(left, right, *, texts=None, **fields):
    """Queue a comparison of a sample of each; A is the left one's."""
    number = next(numbers)
    prompt = Prompt.objects.create(
        project=left.project,
        messages=[message(f"prompt {number}")],
        content_sha=hash_of(f"prompt {number}"),
        group=hash_of(f"prompt {number}")[:32],
    )
    text_a, text_b = texts or (f"one {number}", f"two {number}")
    comparison = propose_comparison(prompt, text_a, text_b, **fields)
    for checkpoint, completion in ((left, comparison.completion_a), (right, comparison.completion_b)):
        add_sample(checkpoint, prompt, completion)
    return comparison


def add_sample(checkpoint, prompt, completion):
    return Sample.objects.create(
        run=make_run(checkpoint.project, kind="sample", state="succeeded"),
        checkpoint=checkpoint,
        prompt=prompt,
        completion=completion,
        index=0,
        text=completion.text,
        n_tokens=3,
        finished=True,
        decoding={},
        seed=0,
    )


def vote(comparison, labeler, verdict, **fields):
    return judge(comparison, labeler, verdict=verdict, strength=STRENGTHS[verdict], **fields)


def test_a_duel_counts_votes_from_either_side(old, new, people):
    vote(make_meeting(new, old), people[0], Verdict.A)
    vote(make_meeting(old, new), people[0], Verdict.B)
    vote(make_meeting(old, new), people[0], Verdict.A)
    vote(make_meeting(old, new), people[1], Verdict.TIE)

    duel = measure_duel(new, old)

    assert (duel.wins, duel.ties, duel.losses, duel.n_votes, duel.n_prompts) == (2, 1, 1, 4, 4)
    assert duel.estimate.rate == pytest.approx(0.625, abs=0.005)


def test_no_vote_is_no_estimate(old, new):
    make_meeting(new, old)

    duel = measure_duel(new, old)

    assert (duel.n_votes, duel.estimate) == (0, None)


def test_comparisons_of_one_checkpoint_with_itself_and_of_imports_say_nothing(old, new, people, project):
    vote(make_meeting(new, new), people[0], Verdict.A)
    prompt = Prompt.objects.create(project=project, messages=[message("x")], content_sha=hash_of("x"), group="x")
    vote(propose_comparison(prompt, "yes", "no"), people[0], Verdict.A)

    assert measure_duel(new, old).n_votes == 0
    assert rank_checkpoints(project) is None


def test_probes_quarantined_and_revised_votes_do_not_count(old, new, people, project):
    comparison = make_meeting(new, old)
    first = vote(comparison, people[0], Verdict.A)
    vote(comparison, people[0], Verdict.B, revises=first)
    vote(make_meeting(new, old), people[1], Verdict.A, reason="gold")
    Membership.objects.filter(user=people[2]).update(is_quarantined=True)
    vote(make_meeting(new, old), people[2], Verdict.A)

    duel = measure_duel(new, old)

    assert (duel.wins, duel.losses) == (0, 1)


def test_a_reviewer_decides_in_place_of_the_votes(old, new, people, manager):
    comparison = make_meeting(new, old)
    for labeler in people:
        last = vote(comparison, labeler, Verdict.A)
    Adjudication.objects.create(
        comparison=comparison, reviewer=manager, act=Adjudication.Act.OVERRIDE, strength=2, upto=last.pk
    )

    duel = measure_duel(new, old)

    assert (duel.wins, duel.losses, duel.n_votes) == (0, 1, 1)


def test_a_vote_weighs_as_much_as_it_was_unlikely(old, new, people):
    """Of ten lost comparisons every one was asked for, of forty won every fourth: the truth is 40 of 50."""
    for _ in range(10):
        vote(make_meeting(new, old), people[0], Verdict.B)
        vote(make_meeting(new, old, propensity=0.25), people[0], Verdict.A, propensity=0.25)

    duel = measure_duel(new, old)

    assert (duel.wins, duel.losses) == (10, 10)
    assert duel.estimate.rate == pytest.approx(0.8, abs=0.01)
    assert duel.estimate.n_effective == pytest.approx(50**2 / (10 + 10 * 16))


def test_a_text_both_drew_stands_for_either(old, new, people):
    comparison = make_meeting(new, old)
    add_sample(old, comparison.prompt, comparison.completion_a)
    vote(comparison, people[0], Verdict.A)
    same = make_meeting(new, old)
    add_sample(old, same.prompt, same.completion_a)
    add_sample(new, same.prompt, same.completion_b)
    vote(same, people[0], Verdict.A)

    duel = measure_duel(new, old)

    assert duel.n_votes == 1  # the second one's sides were drawn by both: either verdict says nothing


def test_checkpoints_that_never_met_are_ranked_through_a_third(old, new, people, project):
    middle = make_checkpoint(project, name="middle")
    alone, other = make_checkpoint(project, name="alone"), make_checkpoint(project, name="other")
    for number in range(12):
        vote(make_meeting(new, middle), people[0], Verdict.B if number % 3 == 0 else Verdict.A)
        vote(make_meeting(middle, old), people[0], Verdict.B if number % 3 == 0 else Verdict.A)
    vote(make_meeting(alone, other), people[0], Verdict.A)

    standings = rank_checkpoints(project, baseline=old)
    rates = {rating.checkpoint.name: rating.people.rate for rating in standings.ratings if rating.people}

    assert [rating.checkpoint.name for rating in standings.ratings[:3]] == ["new", "middle", "old"]
    assert rates == pytest.approx({"new": 0.8, "middle": 2 / 3, "old": 0.5}, abs=0.01)  # odds of 2 twice are odds of 4
    assert standings.n_votes == 25


def test_what_models_say_is_kept_apart(old, new, people, project):
    comparison = make_meeting(new, old)
    vote(comparison, people[0], Verdict.B)
    constitution = Constitution.objects.create(project=project, version=1, principles=[])
    for name, exam, p in (("passed", "passed", 0.9), ("failed", "failed", 0.1)):
        annotator = Annotator.objects.create(
            project=project, name=name, source="endpoint", endpoint="http://x/v1", constitution=constitution, exam=exam
        )
        AIJudgment.objects.create(annotator=annotator, comparison=comparison, p=p, p_ab=p)

    rating = next(rating for rating in rank_checkpoints(project, baseline=old).ratings if rating.checkpoint == new)

    assert rating.people.rate < 0.1
    assert rating.models.rate == pytest.approx(0.9, abs=0.02)
    assert (rating.n_votes, rating.n_model_votes) == (1, 1)


def test_standings_follow_the_next_vote(old, new, people, project):
    vote(make_meeting(new, old), people[0], Verdict.A)
    before = rank_checkpoints(project)
    vote(make_meeting(new, old), people[0], Verdict.B)

    assert (before.n_votes, rank_checkpoints(project).n_votes) == (1, 2)


def test_control_for_style_takes_from_length_what_is_its_own(old, new, people):
    """Whoever is longer wins, and new is longer more often."""
    for number in range(40):
        is_longer = number % 4 != 0
        texts = (f"long {number} " + "word " * 20, f"short {number}")
        comparison = make_meeting(new, old, texts=texts if is_longer else texts[::-1])
        vote(comparison, people[0], Verdict.A if is_longer else Verdict.B)

    duel = measure_duel(new, old)

    assert duel.estimate.low > 0.5
    assert duel.controlled.low < 0.5 < duel.controlled.high


def test_that_nobody_was_compared_is_kept_too(project, old):
    with CaptureQueriesContext(connection) as first:
        assert rank_checkpoints(project) is None
    with CaptureQueriesContext(connection) as again:
        assert rank_checkpoints(project) is None

    assert len(again) < len(first) - 2


def test_comparisons_nobody_judged_are_not_read(old, new, people):
    judged = make_meeting(new, old)
    vote(judged, people[0], Verdict.A)
    make_meeting(new, old)

    with CaptureQueriesContext(connection) as queries:
        assert measure_duel(new, old).n_votes == 1

    read = [query["sql"] for query in queries if "propensity" in query["sql"] and "completion_a" in query["sql"]]
    assert len(read) == 1
    assert f"IN ({judged.pk})" in read[0]
