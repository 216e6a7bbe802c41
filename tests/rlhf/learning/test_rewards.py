import json
from pathlib import Path

import pytest
import torch

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.ppo import parse_weights
from rlhf.learning.models import load_tokenizer
from rlhf.learning.rewards import build_rewards, measure_format


def count_vowels(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(sum(letter in "aeiou" for letter in text)) for text in completions]


def forget_one(prompts: list[str], completions: list[str]) -> list[float]:
    return [0.0] * (len(completions) - 1)


@pytest.fixture
def build(tiny_policy: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    allowed = {name: f"tests.rlhf.learning.test_rewards:{name}" for name in ("count_vowels", "forget_one", "missing")}
    (tmp_path / "data" / "rewards.json").write_text(json.dumps(allowed))
    tokenizer = load_tokenizer(tiny_policy)

    def build(text: str):
        def model(prompts, completions):
            return torch.tensor([float(ids[0]) for ids in completions])

        return build_rewards(parse_weights(text), tmp_path, model=model, tokenizer=tokenizer), tokenizer

    return build


def test_rewards_are_weighted_by_name(build):
    rewards, _ = build("model=1, length=-0.5, distinct=2")
    completions = [[7, 8, 7, 8], [9]]

    found = {name: reward([[1], [2]], completions).tolist() for name, reward in rewards.items()}

    assert found == {"model": [7.0, 9.0], "length": [-2.0, -0.5], "distinct": [pytest.approx(2 * 2 / 3), 2.0]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes, of course.", 1.0),
        ("Yes, of", 0.0),
        ("  ", 0.0),
        ("See (the map.", 0.0),
        ("See [the map] (and me)!", 1.0),
        ("```\nprint(1)\n```", 1.0),
        ("```\nprint(1).", 0.0),
    ],
)
def test_a_text_is_in_form_when_it_ends_and_closes_what_it_opens(text: str, value: float):
    assert measure_format(["Hello?"], [text]) == [value]


def test_the_form_is_read_of_what_a_completion_spells(build):
    rewards, tokenizer = build("format=2")
    completions = [tokenizer.encode(text, add_special_tokens=False) for text in ("Yes, thank you.", "Yes, thank")]

    assert rewards["format"]([[1], [1]], completions).tolist() == [2.0, 0.0]


def test_a_function_the_host_allowed_reads_texts(build):
    rewards, tokenizer = build("count_vowels=10")
    completions = [[*tokenizer.encode("a tree", add_special_tokens=False), tokenizer.eos_token_id]]

    assert rewards["count_vowels"]([[1]], completions).tolist() == [30.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("os.system=1", "unknown reward os.system; there are model, length, distinct, format, count_vowels"),
        ("missing=1", "cannot be imported"),
    ],
)
def test_what_nobody_allowed_or_nobody_wrote_is_refused(build, text: str, message: str):
    with pytest.raises(ContractError, match=message):
        build(text)


def test_a_function_that_forgets_a_completion_is_named(build):
    rewards, _ = build("forget_one=1")

    with pytest.raises(ContractError, match="forget_one must return one finite number for each of 2 completions"):
        rewards["forget_one"]([[1], [1]], [[7], [8]])


@pytest.mark.parametrize("text", ["", "model", "model=much", "model=nan", "=1", "model=1,model=2"])
def test_weights_that_cannot_be_read_are_refused(text: str):
    with pytest.raises(ConfigError, match="write rewards as name=weight"):
        parse_weights(text)
