"""What a loop sets of its runs and of its freeze rule: what can be, what cannot and why, and how it is written."""

from __future__ import annotations

import pytest

from rlhf.domain.datasets.rule import FreezeRule
from rlhf.domain.datasets.shelf import freeze_rows
from rlhf.domain.demo import run_settings
from rlhf.domain.errors import LearningError
from rlhf.domain.tuning import (
    check_rule,
    check_settings,
    join_lines,
    parse_rule,
    parse_settings,
    spell_rule,
    spell_settings,
    split_lines,
)
from rlhf.world.recipe import RULE
from tests.rlhf.conftest import make_checkpoint

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "settings",
    [
        {},
        run_settings(),
        {"ppo": {"kl_coef": 0.1, "alarm": "stop"}, "reward": {"head": "tokens"}},
        {"dpo": {"epochs": 3.0}, "dpo:ranked": {"epochs": 1.0}, "sample:best": {"n": 16}},
    ],
)
def test_settings_are_read_as_they_were_written(project, settings):
    check_settings(project, settings)

    assert parse_settings(split_lines(join_lines(spell_settings(settings)))) == settings


@pytest.mark.parametrize(
    "rule",
    [
        {},
        RULE,
        {"consensus": "dawid_skene", "soft": True, "min_judgments": 2, "labeler_share_max": 0.3},
        {"include": ["own", "imported:a, b"], "exclude_labelers": ["leo"], "note": "as = of May"},
    ],
)
def test_a_rule_is_read_as_it_was_written(project, labeler, rule):
    check_rule(project, rule)

    assert parse_rule(split_lines(join_lines(spell_rule(rule)))) == rule


def test_lists_may_be_written_with_commas_and_what_has_no_value_has_its_default():
    assert parse_rule({"include": "own, ai:claude", "soft": ""}) == {"include": ["own", "ai:claude"]}
    assert parse_settings({"ppo.kl_coef": "0.1", "ppo.alarm": ""}) == {"ppo": {"kl_coef": 0.1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ppo.kl_coef 0.1", "write one name = value a line, got 'ppo.kl_coef 0.1'"),
        ("ppo.kl_coef = 1\nppo.kl_coef = 2", "ppo.kl_coef is set twice"),
        ("kl_coef = 1", "write kind.name = value, such as ppo.kl_coef = 0.1, got 'kl_coef'"),
        ("ppoo.kl_coef = 1", "a round has no runs of 'ppoo': there are pretrain, sft, reward, dpo, kto, ppo"),
        ("dpo:best.beta = 1", "no runs of 'dpo:best': there are .* dpo:ranked, sample:best, sample:previous"),
        ("ppo.kl_coeff = 1", "ppo: unknown setting kl_coeff; ppo knows .*, kl_coef, "),
        ("ppo.kl_coef = much", "ppo: kl_coef must be a number, got 'much'"),
        ("ppo.rollouts = 1.5", "ppo: rollouts must be an integer, got '1.5'"),
    ],
)
def test_lines_that_cannot_be_read_say_why(text, message):
    with pytest.raises(LearningError, match=message):
        parse_settings(split_lines(text))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "settings are objects by kind of run"),
        ({"ppo": 3}, "settings are objects by kind of run"),
        ({"feedback": {}}, "a round has no runs of 'feedback'"),
        ({"ppo": {"kl_coef": -1}}, "ppo: kl_coef must be >= 0, got -1"),
        ({"ppo": {"kl_coef": True}}, "ppo: kl_coef must be a finite number, got True"),
        ({"ppo": {"alarm": "halt"}}, "ppo: alarm must be one of warn, stop, off, got 'halt'"),
        ({"ppo": {"rewards": "model=1\n"}}, "ppo.rewards must be one line of printable text"),
        ({"ppo": {"base_model": "/etc"}}, "ppo.base_model is not for a loop's settings: a round finds its models"),
        ({"ppo": {"heldout_model": "judge-2"}}, "Harbour has no reward model named judge-2"),
        ({"score:best": {"samples_of": 3}}, "score:best.samples_of is not for a loop's settings"),
        ({"sample": {"n": 4}}, "sample.n is not for a loop's settings: set n_samples"),
        ({"reward": {"head": "tokens", "lora_rank": 8}}, "reward: lora_rank acts on head=last only"),
        ({"dpo:ranked": {"beta": 0}, "dpo": {"beta": 0.1}}, "dpo:ranked: beta must be > 0, got 0"),
    ],
)
def test_settings_no_run_could_be_made_with_are_refused(project, settings, message):
    with pytest.raises(LearningError, match=message):
        check_settings(project, settings)


def test_a_reward_model_of_the_project_may_look_on(project):
    make_checkpoint(project, name="judge-2", kind="reward")

    check_settings(project, {"ppo": {"heldout_model": "judge-2"}, "evaluate": {"heldout_model": "judge-2"}})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("majority", "a rule is an object of its parts"),
        (
            {"consensus": "median"},
            "consensus must be one of majority, mean3, dawid_skene, soft, strength, got 'median'",
        ),
        ({"soft": True}, "soft goes with consensus dawid_skene, soft or strength, and not with majority"),
        ({"soft": "yes"}, "soft must be true or false, got 'yes'"),
        ({"min_judgments": "two"}, "min_judgments must be an integer, got 'two'"),
        ({"labeler_share_max": 2}, "labeler_share_max must be from 0 to 1, got 2"),
        ({"include": "own"}, "include must be a list of texts, got 'own'"),
        ({"exclude_labelers": [3]}, "exclude_labelers must be a list of texts"),
        ({"exclude_labelers": ["9" * 40]}, "exclude_labelers names nobody of Harbour: 999"),
        ({"note": "a\nb"}, "note must be one line of printable text"),
        ({"quorum": 2}, "unknown parts of a rule: quorum; it has include, consensus, soft, min_judgments"),
        ({"upto": 3}, "upto is not for a loop's rule: a round says itself which judgments"),
    ],
)
def test_a_rule_that_freezes_nothing_is_refused(project, rule, message):
    with pytest.raises(LearningError, match=message):
        check_rule(project, rule)


def test_a_share_may_be_a_whole_number():
    assert FreezeRule.from_json({"labeler_share_max": 1}).labeler_share_max == 1


def freeze(project, kind: str, *, n_test: int):
    row = {"text": "The cat sat."} if kind == "text" else {"messages": [{"role": "assistant", "content": "Hello."}]}
    return freeze_rows(project, kind=kind, name=f"{kind} {n_test}", train=[row] * 2, test=[row] * n_test, rule={})


@pytest.mark.parametrize(("name", "kind"), [("texts", "text"), ("demonstrations", "demonstration")])
def test_an_evaluation_may_name_what_has_held_out_rows_of_its_kind(project, name, kind):
    good, bare = freeze(project, kind, n_test=3), freeze(project, kind, n_test=0)
    other = freeze(project, "demonstration" if kind == "text" else "text", n_test=3)

    check_settings(project, {"evaluate": {name: good.pk}})
    check_settings(project, {"evaluate": {name: 0}})
    with pytest.raises(
        LearningError, match=rf"^{name}={bare.pk} has no held-out rows: 0 takes the newest, or name one of"
    ):
        check_settings(project, {"evaluate": {name: bare.pk}})
    for wrong in (other.pk, 999_999):
        with pytest.raises(
            LearningError, match=rf"^{name}={wrong} is no .* dataset of Harbour: .* {good.pk} \({good.name}\)"
        ):
            check_settings(project, {"evaluate": {name: wrong}})


def test_where_nothing_is_frozen_yet_an_evaluation_is_told_to_leave_it_0(project):
    with pytest.raises(LearningError, match="leave it 0 until one is frozen at /datasets/"):
        check_settings(project, {"evaluate": {"texts": 7}})


def test_what_ppo_is_to_write_besides_must_be_there(project):
    with pytest.raises(LearningError, match="ptx_dataset=7 is no frozen dataset"):
        check_settings(project, {"ppo": {"ptx_coef": 0.1, "ptx_dataset": 7}})
