"""What a reward model is asked about what a policy wrote: the rows it was trained on, and no longer ones."""

from pathlib import Path
from shutil import copytree

import pytest
import torch

from rlhf.learning import grpo, ppo
from rlhf.learning.models import load_tokenizer
from rlhf.learning.reward_card import write_card
from rlhf.learning.scorer import load_scorer
from rlhf.learning.scoring import Ensemble, load_reward_model, score_rows
from rlhf.learning.tokenization import encode_prompt
from tests.rlhf.learning.tiny_runs import TinyModels, prepare_tiny_run


def test_a_reward_model_of_the_same_tokens_is_asked_about_no_longer_rows_than_it_was_trained_on(
    tiny_policy: Path, tmp_path: Path
):
    tokenizer = load_tokenizer(tiny_policy)
    folder = tmp_path / "reward-model"
    load_reward_model(tiny_policy, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    turns = [
        {"role": "user", "content": "Is the shop open?"},
        {"role": "assistant", "content": "Silence, you are boring."},
    ]
    short, long = turns[:1], [*turns * 3, turns[0]]
    conversations = {tuple(encode_prompt(tokenizer, each, 999)): each for each in (short, long)}
    prompts, answer = [list(ids) for ids in conversations], list(range(30, 40))
    limit = len(prompts[0]) + len(answer)
    write_card(folder, {"max_length": limit})

    scorer = load_scorer(folder, tokenizer, conversations=conversations, stop_ids=[2], ensemble=Ensemble(), seed=0)
    scores = scorer(prompts, [answer, answer])
    n_cut, rows = scorer.n_cut, [prompt + answer for prompt in prompts]
    overlong = scorer(prompts[:1], [answer * 9])

    model = load_reward_model(folder, tokenizer, seed=0)
    torch.testing.assert_close(scores, score_rows(model, rows[:1] * 2))  # the older turns are gone, whole
    assert n_cut == 1
    assert scorer.recall(rows[:1]) is None  # it keeps the last rows alone
    assert len(scorer.recall([prompts[0] + answer * 9])) == 1  # by the row as it was written
    start = prompts[0][: limit // 2]
    torch.testing.assert_close(overlong, score_rows(model, [[*start, *(answer * 9)[: limit - len(start)]]]))


@pytest.mark.parametrize("kind", ["ppo", "rloo"])
def test_a_run_tells_how_many_completions_its_reward_model_read_shortened(
    kind: str, models: TinyModels, tmp_path: Path
):
    tight = copytree(models.reward_model, tmp_path / "tight")
    write_card(tight, {"max_length": 8})
    shares = []
    for folder in (models.reward_model, tight):
        run_dir = tmp_path / f"run-{folder.name}"
        config = prepare_tiny_run(kind, run_dir, models, reward_model=str(folder), rollouts=2)
        shares.append((grpo if kind == "rloo" else ppo).train(config, run_dir)["rewards/cut_frac"])

    assert shares == [0, 1]
