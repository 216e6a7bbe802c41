from pathlib import Path

import pytest
import torch
from datasets import Dataset
from trl.trainer.reward_config import RewardConfig as RewardArguments
from trl.trainer.reward_trainer import RewardTrainer

from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import read_rows, write_rows
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.models import load_tokenizer
from rlhf.learning.pair_batches import PairRows
from rlhf.learning.preferences import EncodedPair, encode_pairs
from rlhf.learning.reward_card import read_card, require_parity
from rlhf.learning.reward_model import train
from rlhf.learning.reward_trainer import LABELS, SoftRewardTrainer, draw_shares
from rlhf.learning.scoring import (
    head_differences,
    load_reward_model,
    require_distinct_pad,
    reward_differences,
    score_rows,
)
from rlhf.learning.tables import pair_dataset
from tests.rlhf.learning.conftest import polite_pairs, write_pairs

ORDERED = {"batch_size": 8, "seed": 0}


class OrderedRewardTrainer(RewardTrainer):
    """TRL's trainer on the rows in our order; nothing else differs from TRL."""

    def _get_train_sampler(self, train_dataset=None):
        return LengthGroupedOrder(self.train_dataset["n_tokens"], **ORDERED)


def settings(folder: Path) -> RewardArguments:
    return RewardArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        max_steps=8,
        logging_steps=1,
        learning_rate=1e-3,
        center_rewards_coefficient=0.01,
        max_length=None,
        seed=0,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def history(trainer: RewardTrainer) -> list[dict[str, float]]:
    trainer.train()
    names = ("loss", "grad_norm", "accuracy", "margin", "min_reward", "mean_reward", "max_reward", "num_tokens")
    return [{name: entry[name] for name in names} for entry in trainer.state.log_history if "loss" in entry]


def tokens(pairs: list[EncodedPair]) -> list[dict[str, object]]:
    return [
        {
            "chosen_ids": pair.prompt_ids + pair.chosen_ids,
            "rejected_ids": pair.prompt_ids + pair.rejected_ids,
            "n_tokens": pair.n_tokens,
        }
        for pair in pairs
    ]


@pytest.mark.parametrize("shared", [False, True], ids=["two rows", "one row"])
def test_plain_labels_give_trls_losses_and_gradients(shared: bool, tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    pairs = encode_pairs(polite_pairs(64), tokenizer, max_length=128).pairs
    theirs = OrderedRewardTrainer(
        model=load_reward_model(str(tiny_policy), tokenizer, seed=1),
        args=settings(tmp_path / "trl"),
        train_dataset=Dataset.from_list(tokens(pairs)),
        processing_class=tokenizer,
    )
    ours = SoftRewardTrainer(
        model=load_reward_model(str(tiny_policy), tokenizer, seed=1),
        args=settings(tmp_path / "ours"),
        data_collator=PairRows(tokenizer.pad_token_id, labels=(*LABELS, "row"), shared=shared),
        train_dataset=pair_dataset(pairs),
        processing_class=tokenizer,
    )

    expected, found = history(theirs), history(ours)

    assert len(found) == 8
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)


def test_a_run_learns_the_rule_and_publishes_the_model_it_scored_with(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=2e-3, epochs=2)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = train(config, tmp_path)

    final = tmp_path / "checkpoints" / "final"
    tokenizer = load_tokenizer(final)
    test_pairs = encode_pairs(polite_pairs(20, seed=2), tokenizer, max_length=256).pairs
    differences = reward_differences(load_reward_model(str(final), tokenizer, seed=0), test_pairs)
    right = sum(difference > 0 for difference in differences) / 20
    verify_sealed(final)
    assert metrics["eval_accuracy"] == right == 1.0
    assert metrics["eval_accuracy_low"] == pytest.approx(0.8389, abs=1e-4)
    assert (metrics["n_train"], metrics["n_test"], metrics["n_dropped"], metrics["n_cut"]) == (64, 20, 0, 0)
    assert list(read_rows(tmp_path / "hits.jsonl")) == [{"line": line, "hit": 1.0} for line in range(1, 21)]
    longer = sum(pair.chosen_chars > pair.rejected_chars for pair in test_pairs)
    same = sum(pair.chosen_chars == pair.rejected_chars for pair in test_pairs)
    assert metrics["baseline_longer"] == pytest.approx((longer + same / 2) / 20)
    assert metrics["baseline_shorter"] == pytest.approx(1 - metrics["baseline_longer"])
    # The polite pairs differ by words alone.
    assert metrics["baseline_words"] == 1.0
    assert metrics["baseline_words_low"] == metrics["eval_accuracy_low"]


def test_the_same_configuration_gives_the_same_losses(tiny_policy: Path, tmp_path: Path):
    logs = []
    for name in ("one", "other"):
        config = RewardConfig(base_model=str(tiny_policy), batch_size=8, max_steps=4, logging_steps=1, seed=7)
        prepare_run_dir(tmp_path / name, config)
        write_pairs(tmp_path / name, n_train=40, n_test=4)
        train(config, tmp_path / name)
        lines, _ = tail_metrics(tmp_path / name, 0)
        logs.append([line["values"]["loss"] for line in lines if "loss" in line["values"]])

    assert len(logs[0]) == 4
    assert logs[0] == logs[1]


def test_ties_alone_teach_that_there_is_no_difference(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=2e-3, epochs=4)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=1, n_test=4)
    write_rows(tmp_path / "data" / "train.jsonl", [{**row, "target": 0.5} for row in polite_pairs(64)])

    train(config, tmp_path)

    final = str(tmp_path / "checkpoints" / "final")
    tokenizer = load_tokenizer(final)
    pairs = encode_pairs(polite_pairs(20, seed=2), tokenizer, max_length=256).pairs
    before = reward_differences(load_reward_model(str(tiny_policy), tokenizer, seed=42), pairs)
    after = reward_differences(load_reward_model(final, tokenizer, seed=0), pairs)
    assert max(map(abs, after)) < max(map(abs, before))
    assert max(map(abs, after)) < 0.05


def test_a_row_scores_the_same_alone_and_among_longer_ones(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    model = load_reward_model(str(tiny_policy), tokenizer, seed=0)
    rows = [[7, 8, 9], [10, 11, 12, 13, 14, 15, 16], [17]]

    together = score_rows(model, rows)
    alone = torch.cat([score_rows(model, [row]) for row in rows])

    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-6)


def test_padding_with_the_end_token_is_refused_with_the_way_out(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    tokenizer.pad_token = tokenizer.eos_token

    with pytest.raises(ContractError, match=r"pad token is '<\|eos\|>'.*add_special_tokens"):
        require_distinct_pad(tokenizer)


def test_a_reward_model_whose_scores_have_changed_is_refused(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, max_steps=4)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=32, n_test=4)
    write_rows(tmp_path / "data" / "propensities.jsonl", [{"line": line, "propensity": line / 8} for line in (1, 2, 4)])
    metrics = train(config, tmp_path)
    final = tmp_path / "checkpoints" / "final"
    model = load_reward_model(str(final), load_tokenizer(final), seed=0)

    require_parity(model, final)
    card = read_card(final)
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = load_tokenizer(final).eos_token_id

    assert len(card["parity"]) == 8
    assert card["temperature"] == metrics["temperature"] > 0
    told = ("eval_accuracy", "eval_accuracy_reweighted", "n_effective", "eval_brier", "eval_ece")
    assert [card[name] for name in told] == [metrics[name] for name in told]
    assert metrics["n_reweighted"] == 3
    assert metrics["eval_log_loss_calibrated"] <= metrics["eval_log_loss"]
    with pytest.raises(ContractError, match="scores its own test rows otherwise than when it was trained"):
        require_parity(model, final)


def test_several_heads_learn_the_rule_from_draws_of_their_own(tiny_policy: Path, tmp_path: Path):
    config = RewardConfig(base_model=str(tiny_policy), batch_size=8, learning_rate=2e-3, epochs=2, n_heads=4)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = train(config, tmp_path)

    final = tmp_path / "checkpoints" / "final"
    tokenizer = load_tokenizer(final)
    pairs = encode_pairs(polite_pairs(20, seed=2), tokenizer, max_length=256).pairs
    by_head = head_differences(load_reward_model(str(final), tokenizer, seed=0), pairs)
    assert by_head.shape == (20, 4)
    assert metrics["eval_accuracy"] == 1.0
    assert metrics["eval_spread"] == pytest.approx(by_head.std(1).mean().item(), rel=1e-3)
    assert metrics["eval_spread"] > 0.01


def test_the_draws_of_a_head_are_as_many_as_the_rows_on_average():
    shares = draw_shares(20_000, 3, seed=0)

    assert draw_shares(5, 1, seed=0).tolist() == [[1.0]] * 5
    assert shares.mean(0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert shares.var(0).tolist() == pytest.approx([1.0] * 3, abs=0.05)
    assert torch.equal(shares, draw_shares(20_000, 3, seed=0))
