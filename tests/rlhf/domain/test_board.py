"""What the reward model says of pairs people have judged, held against what they said; what it has learned takes no part."""

from __future__ import annotations

import json

import pytest

from labeling.domain.people import add_member, quarantine_member
from labeling.models import Membership, Prompt, Slice, User
from rlhf.domain import execution, runs
from rlhf.domain.board import Line, read_board, score_board
from rlhf.domain.checkpoints import run_folder
from rlhf.domain.datasets.freezing import freeze_preferences
from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.pair_scores import find_judge
from rlhf.models import PairScore, Run
from tests.rlhf.conftest import judge, make_checkpoint, make_comparison, make_run

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def reward_model(project):
    return make_checkpoint(project, kind="reward", name="judge")


def score(reward_model, comparison, margin):
    run = make_run(reward_model.project, kind="score", state="succeeded", base=reward_model)
    PairScore.objects.create(run=run, reward_model=reward_model, comparison=comparison, margin=margin)


def end_scoring(run, *, a, b):
    claimed = runs.claim_run(run.pk)
    folder = run_folder(claimed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt_id": row["prompt_id"], "index": row["index"], "scores": [(a, b)[row["index"]]]}
        for row in open_split(run.dataset, "train")
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    execution.publish(claimed, folder, {})


def test_a_vote_is_right_when_the_better_scored_side_won_and_ties_are_counted_apart(project, labeler, reward_model):
    for strength, margin in ((-3, 2.0), (-2, -1.0), (1, -0.5), (2, 0.0)):
        pair = make_comparison(project)
        judge(pair, labeler, strength=strength, verdict="A" if strength < 0 else "B")
        score(reward_model, pair, margin)
    judge(make_comparison(project), labeler, strength=0, verdict="tie")

    board = read_board(reward_model)

    assert (board.whole.n, board.whole.right, board.whole.n_votes, board.whole.ties) == (4, 2.5 / 4, 5, 0.2)
    assert [(line.name, line.n, line.right) for line in board.parts["strength"]] == [
        ("much better", 1, 1.0),
        ("better", 2, 0.25),
        ("slightly better", 1, 1.0),
    ]
    assert board.unscored == []


def test_what_it_has_learned_from_is_not_held_against_it(project, labeler):
    learned = make_comparison(project)
    judge(learned, labeler)
    dataset = freeze_preferences(project, rule=FreezeRule(test_share=0.0), name="d")
    run = make_run(project, kind="reward", state="running", dataset=dataset)
    reward_model = make_checkpoint(project, kind="reward", run=run)
    fresh = make_comparison(project)
    judge(fresh, labeler)

    board = read_board(reward_model)

    assert (board.whole.n, board.whole.n_votes, board.unscored) == (0, 2, [fresh.pk])
    score(reward_model, learned, -1.0)
    assert read_board(reward_model).whole.n == 0


def test_ties_are_a_share_of_all_votes_and_not_of_those_left_to_it(project, labeler):
    """No tie is ever learned: beside what is left once the others are, ties would be many."""
    for _ in range(3):
        judge(make_comparison(project), labeler)
    dataset = freeze_preferences(project, rule=FreezeRule(test_share=0.0), name="d")
    reward_model = make_checkpoint(
        project, kind="reward", run=make_run(project, kind="reward", state="running", dataset=dataset)
    )
    judge(make_comparison(project), labeler, strength=0, verdict="tie")

    assert read_board(reward_model).whole.ties == 0.25


def test_votes_are_told_apart_by_policy_slice_and_labeler(project, labeler, reward_model):
    bea = User.objects.create_user("bea")
    add_member(project, bea, role="labeler")
    new = make_checkpoint(project, name="new")
    code = Slice.objects.create(project=project, name="code")
    for number, who in enumerate((labeler, labeler, bea)):
        pair = make_comparison(project)
        judge(pair, who)
        score(reward_model, pair, 1.0 if number else -1.0)
        if number == 2:
            Prompt.objects.filter(pk=pair.prompt_id).update(slice=code)
            make_run(project, kind="sample", state="succeeded").samples.create(
                checkpoint=new,
                prompt=pair.prompt,
                completion=pair.completion_a,
                index=0,
                text="deep",
                n_tokens=1,
                finished=True,
                decoding={},
                seed=1,
            )

    parts = read_board(reward_model).parts

    assert [(line.name, line.n, line.right) for line in parts["policy"]] == [("new", 1, 1.0)]
    assert [(line.name, line.n, line.right) for line in parts["slice"]] == [("code", 1, 1.0)]
    assert [(line.name, line.n, line.right) for line in parts["labeler"]] == [("leo", 2, 0.5), ("bea", 1, 1.0)]


def test_a_run_scores_what_is_missing_and_a_second_one_has_nothing_to_do(project, labeler, reward_model):
    judge(make_comparison(project), labeler)

    run = score_board(reward_model)
    assert score_board(reward_model) == run
    end_scoring(run, a=1.0, b=-1.0)

    board = read_board(reward_model)
    assert (board.whole.n, board.whole.right, board.unscored) == (1, 1.0, [])
    with pytest.raises(NotReady, match="judge has scored every judged pair"):
        score_board(reward_model)
    assert Run.objects.filter(kind="score").count() == 1


def test_labelers_in_quarantine_say_nothing(project, labeler, manager, reward_model):
    judge(make_comparison(project), labeler)
    quarantine_member(Membership.objects.get(project=project, user=labeler), manager, reason="x")

    board = read_board(reward_model)

    assert board.whole == Line("all", 0, None, None, None, 0, None)
    assert find_judge(project) == reward_model
