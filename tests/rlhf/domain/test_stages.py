"""Which prompts a round draws: what it learns on, what it is measured on and what people judge are kept apart."""

from __future__ import annotations

import pytest

from labeling.domain.content import hash_opening
from labeling.domain.pairing import add_prompt
from labeling.models import Project
from rlhf.domain import loop as life
from rlhf.domain.datasets.shelf import freeze_rows, open_split
from rlhf.domain.errors import NotReady
from rlhf.domain.rounds import advance_round
from rlhf.domain.sampling import Tested, draw_prompts, find_tested, list_prompts
from rlhf.models import Loop, Round, Run
from tests.rlhf.domain.circle import go_round, judge, make_circle, make_policy

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def project():
    project = Project.objects.create(slug="few", name="Few")
    for number in range(8):
        add_prompt(project, [{"role": "user", "content": f"What is {number}?"}])
    return project


def go(monkeypatch, *, n_rewarded, **settings):
    """Go one round and return its runs by stage."""
    monkeypatch.setattr("rlhf.domain.stages.N_REWARDED_PROMPTS", n_rewarded)
    monkeypatch.setattr("rlhf.domain.stages.N_RANKED_PROMPTS", n_rewarded - 1)
    loop = make_circle(n_prompts=24, settings={}, threshold=12, **settings)
    make_policy(loop.project)
    judge(loop.project, 12)
    life.start_loop(loop)
    life.advance_loop(loop.pk)
    round = go_round(Round.objects.get())
    assert round.state == "succeeded", round.cause
    return {f"{run.kind}:{run.part}" if run.part else run.kind: run for run in round.runs.all()}


def test_people_judge_a_policy_on_prompts_it_was_not_rewarded_on(monkeypatch):
    runs = go(monkeypatch, method="ppo", n_rewarded=15)

    learned, shown = list_prompts(runs["ppo"].dataset), list_prompts(runs["sample"].dataset)

    assert (len(learned), len(shown), learned & shown) == (15, 9, set())


def test_samples_to_be_ranked_are_drawn_of_prompts_of_their_own_number(monkeypatch):
    runs = go(monkeypatch, method="ranked", n_rewarded=8)

    assert len(list_prompts(runs["sample:ranked"].dataset)) == 7


def test_prompts_that_were_learned_on_are_shown_when_there_are_no_others(monkeypatch):
    runs = go(monkeypatch, method="ppo", n_rewarded=1000)

    learned, shown = list_prompts(runs["ppo"].dataset), list_prompts(runs["sample"].dataset)

    assert len(shown) == 9
    # The pairs kept for the evaluation are all that was not learned on: they are shown first.
    n_tested = len(list(open_split(runs["reward"].dataset, "test")))
    assert len(shown - learned) == min(n_tested, 9) > 0


def test_a_policy_learns_on_new_prompts_until_they_are_used_up(monkeypatch):
    first = go(monkeypatch, method="ppo", n_rewarded=10)["ppo"]
    Loop.objects.update(threshold=6)
    loop = Loop.objects.get()
    Run.objects.filter(kind="evaluate").update(state="succeeded")
    judge(loop.project, 6)
    life.advance_loop(loop.pk)
    second = go_round(Round.objects.get(number=2)).runs.get(kind="ppo")

    learned = [list_prompts(run.dataset) for run in (first, second)]

    assert [len(prompts) for prompts in learned] == [10, 10]
    assert learned[0].isdisjoint(learned[1])


@pytest.mark.parametrize(
    ("method", "strategy", "settings", "n_heads"),
    [
        ("dpo", "random", {}, 1),
        ("dpo", "disagreement", {}, 4),
        ("ppo", "random", {}, 4),
        ("ppo", "coverage", {"reward": {"head": "tokens"}}, 4),
        ("best_of_n", "previous", {}, 4),
        ("ranked", "uncertain", {}, 4),
        ("ppo", "random", {"reward": {"n_heads": 1}}, 1),
        ("ppo", "random", {"reward": {"n_heads": 6}}, 6),
    ],
)
def test_what_a_policy_goes_after_has_heads_to_doubt_it_unless_the_loop_says_how_many(
    method, strategy, settings, n_heads
):
    loop = make_circle(method=method, strategy=strategy, settings=settings)
    make_policy(loop.project)
    judge(loop.project, 4)
    life.start_loop(loop)

    life.advance_loop(loop.pk)
    advance_round(Round.objects.get().pk)

    assert Run.objects.get(kind="reward").config["n_heads"] == n_heads


def test_a_round_that_learns_to_write_besides_names_the_newest_demonstrations(monkeypatch):
    monkeypatch.setattr("rlhf.domain.stages.N_REWARDED_PROMPTS", 5)
    loop = make_circle(n_prompts=24, settings={"ppo": {"ptx_coef": 0.5}}, threshold=12, method="ppo")
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}]
    written = freeze_rows(loop.project, kind="demonstration", name="d", train=rows, test=[], rule={})
    make_policy(loop.project)
    judge(loop.project, 12)
    life.start_loop(loop)
    life.advance_loop(loop.pk)

    round = go_round(Round.objects.get())

    assert round.runs.get(kind="ppo").config["ptx_dataset"] == written.pk


@pytest.mark.parametrize(
    ("method", "stage"), [("ppo", "ppo"), ("best_of_n", "sample:best"), ("ranked", "sample:ranked")]
)
def test_no_policy_learns_on_a_prompt_its_evaluation_draws_on(monkeypatch, method, stage):
    runs = go(monkeypatch, method=method, n_rewarded=1000, n_pairs=1000)

    tested = [hash_opening(row["prompt"]) for row in open_split(runs["reward"].dataset, "test")]
    learned = [hash_opening(row["prompt"]) for row in open_split(runs[stage].dataset, "train")]

    assert len(tested) > 0
    assert set(tested).isdisjoint(learned)
    assert len(learned) == 36 - len(tested)


def test_prompts_of_a_tested_group_are_not_drawn(project):
    twin = add_prompt(project, [{"role": "user", "content": "A twin"}], group="twins")
    other = add_prompt(project, [{"role": "user", "content": "Another"}], group="twins")

    drawn = draw_prompts(project, 20, seed=0, tested=Tested(frozenset({"twins"}), frozenset()))

    assert len(drawn) == 8
    assert {twin, other}.isdisjoint(drawn)


def test_without_prompts_besides_those_that_measure_it_says_what_to_do(project):
    tested = Tested(frozenset(project.prompts.values_list("group", flat=True)), frozenset())

    with pytest.raises(NotReady, match="Few has no prompts besides those its evaluations are measured on: import some"):
        draw_prompts(project, 3, seed=0, tested=tested)


def test_a_draw_is_decided_by_its_seed_and_read_in_pages(project, monkeypatch, django_assert_max_num_queries):
    with django_assert_max_num_queries(3):
        first = draw_prompts(project, 3, seed=1)
    monkeypatch.setattr("rlhf.domain.sampling.CHUNK", 2)

    assert draw_prompts(project, 3, seed=1) == first
    assert draw_prompts(project, 8, seed=1)[:3] == first
    assert {prompt.pk for prompt in draw_prompts(project, 20, seed=1)} == set(
        project.prompts.values_list("pk", flat=True)
    )
    assert draw_prompts(project, 8, seed=2) != draw_prompts(project, 8, seed=1)


def test_the_groups_of_joined_prompts_are_all_tested(monkeypatch):
    runs = go(monkeypatch, method="ppo", n_rewarded=10)
    dataset = runs["reward"].dataset

    groups = {row["group"] for row in open_split(dataset, "test")}

    assert groups <= find_tested(dataset).groups
