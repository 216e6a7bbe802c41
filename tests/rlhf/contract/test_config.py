from __future__ import annotations

import dataclasses

import pytest

from rlhf.contract.config import CONFIGS, load_config
from rlhf.contract.errors import ConfigError
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_configuration_survives_the_way_to_json_and_back(kind):
    config = CONFIGS[kind](seed=7)

    assert load_config(config.to_json()) == config


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_setting_has_a_sentence_for_people(kind):
    silent = [item.name for item in dataclasses.fields(CONFIGS[kind]) if not item.metadata["help"].endswith(".")]

    assert silent == []


def test_settings_are_read_as_their_fields_type():
    config = DPOConfig().with_settings(["beta=0.25", "batch_size=8", "loss_type=ipo"])

    assert (config.beta, config.batch_size, config.loss_type) == (0.25, 8, "ipo")


@pytest.mark.parametrize("loss_type", ["ipo", "simpo"])
def test_a_price_of_length_is_refused_where_the_loss_averages_over_tokens(loss_type):
    with pytest.raises(ConfigError, match=f"length_coef is for whole completions, but loss_type={loss_type} averages"):
        DPOConfig(loss_type=loss_type, length_coef=0.01)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("beta=-0.1", "beta must be > 0, got -0.1"),
        ("beta=nan", "beta must be a finite number, got nan"),
        ("batch_size=2.5", "batch_size must be an integer, got '2.5'"),
        ("batch_size=0", "batch_size must be >= 1, got 0"),
        ("loss_type=magic", "loss_type must be one of sigmoid, ipo, robust, hinge, simpo, orpo, got 'magic'"),
        ("beta", "write settings as key=value, got 'beta'"),
        ("label_smoothing=0.1", "label_smoothing acts on loss_type=robust only, got loss_type=sigmoid"),
    ],
)
def test_a_bad_setting_says_what_it_must_be(assignment, message):
    with pytest.raises(ConfigError) as caught:
        DPOConfig().with_settings([assignment])

    assert str(caught.value) == message


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown setting learning_rat; ppo knows .*learning_rate"):
        PPOConfig().with_settings(["learning_rat=1e-4"])


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="hidden_size must be n_heads times an even number, got 100 and 6 heads"):
        PretrainConfig(hidden_size=100)


def test_a_true_is_not_an_integer():
    with pytest.raises(ConfigError, match="seed must be an integer, got True"):
        DPOConfig(seed=True)


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "magic"}', '{"kind": "dpo", "beta": 1e999}'])
def test_a_broken_configuration_file_is_refused(text):
    with pytest.raises(ConfigError):
        load_config(text)


def test_a_number_too_great_for_a_float_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"^beta must be a finite number, got 10{39}$"):
        DPOConfig(beta=10**400)
