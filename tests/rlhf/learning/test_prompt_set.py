from pathlib import Path

import pytest
import torch

from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.records import write_rows
from rlhf.contract.run_dir import prepare_run_dir
from rlhf.learning import grpo, ppo
from rlhf.learning.models import load_tokenizer
from rlhf.learning.prompt_set import read_prompts
from rlhf.learning.scorer import TextScorer
from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer
from rlhf.learning.tokenization import train_tokenizer
from tests.rlhf.learning.conftest import BAD, GOOD, QUESTIONS

LAST = [{"role": "user", "content": "Can you help me?"}]


def begin(text: str) -> list[dict[str, str]]:
    """A conversation whose last turn is the same, whatever came before."""
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes, of course."}, *LAST]


def as_rows(*prompts) -> list[dict]:
    return [{"prompt_id": str(number), "prompt": prompt} for number, prompt in enumerate(prompts)]


def test_a_prompt_that_was_cut_says_what_is_left_of_it(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    alone = read_prompts(tokenizer, as_rows(LAST), 64)

    cut = read_prompts(tokenizer, as_rows(begin("Is the shop open?")), len(alone.ids[0]))

    assert cut.ids == alone.ids
    assert cut.conversations == {tuple(alone.ids[0]): LAST}
    assert (cut.n_cut, alone.n_cut) == (1, 0)


def test_the_beginning_of_a_last_turn_is_cut_from_what_it_says_too(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    n_whole = len(read_prompts(tokenizer, as_rows(LAST), 64).ids[0])

    cut = read_prompts(tokenizer, as_rows(LAST), n_whole - 2)

    ((left,),) = cut.conversations.values()
    assert len(cut.ids[0]) <= n_whole - 2
    assert left["role"] == "user"
    assert LAST[0]["content"].endswith(left["content"].strip())
    assert left["content"] != LAST[0]["content"]


def test_prompts_that_become_the_same_are_counted_and_the_same_prompt_twice_is_not(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    rows = as_rows(begin("Is the shop open?"), begin("May I come in?"), begin("May I come in?"), LAST)
    n_last = len(read_prompts(tokenizer, as_rows(LAST), 64).ids[0])

    whole, cut = read_prompts(tokenizer, rows, 64), read_prompts(tokenizer, rows, n_last)

    assert whole.counts == {"n_prompts": 4, "n_cut": 0, "n_alike": 0}
    assert cut.counts == {"n_prompts": 4, "n_cut": 3, "n_alike": 3}


@pytest.fixture(scope="module")
def other_words(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that reads other tokens than the policy."""
    folder = tmp_path_factory.mktemp("other-words")
    tokenizer = train_tokenizer([*GOOD, *BAD, *QUESTIONS], vocab_size=350)
    load_reward_model(tiny_policy, tokenizer, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_a_reward_model_of_other_tokens_reads_the_prompt_that_was_answered(
    kind: str, tiny_policy: Path, other_words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokenizer = load_tokenizer(tiny_policy)
    n_last = len(read_prompts(tokenizer, as_rows(LAST), 64).ids[0])
    scorers: list[TextScorer] = []
    monkeypatch.setattr(TextScorer, "__call__", lambda self, *asked: scorers.append(self) or torch.zeros(len(asked[0])))
    names = {"base_model": str(tiny_policy), "reward_model": str(other_words), "max_prompt_tokens": n_last}
    small = {"rollouts": 1, "rollout_batch_size": 4, "max_new_tokens": 4, "finished_drop": 0.0, "score_drop": 0.0}
    config_class = {"ppo": PPOConfig, "grpo": GRPOConfig}[kind]
    known = {name: value for name, value in (names | small).items() if name in config_class.__dataclass_fields__}
    config = config_class(**known)
    prepare_run_dir(tmp_path, config)
    write_rows(tmp_path / "data" / "prompts.jsonl", as_rows(begin("Is the shop open?"), begin("May I come in?"), LAST))

    metrics = {"ppo": ppo, "grpo": grpo}[kind].train(config, tmp_path)

    assert {name: metrics[name] for name in ("n_prompts", "n_cut", "n_alike")} == {
        "n_prompts": 3,
        "n_cut": 2,
        "n_alike": 3,
    }
    assert scorers[0].conversations == {tuple(read_prompts(tokenizer, as_rows(LAST), 64).ids[0]): LAST}
    assert scorers[0].tokenizer.get_vocab() == load_scoring_tokenizer(other_words).get_vocab()
