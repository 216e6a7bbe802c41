from pathlib import Path

import pytest
from trl.trainer.kto_config import KTOConfig as KTOArguments
from trl.trainer.kto_trainer import KTOTrainer

from rlhf.contract.errors import ConfigError, ContractError
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.records import read_unpaired, write_rows
from rlhf.contract.run_dir import prepare_run_dir, verify_sealed
from rlhf.learning.kto import CompactKTOTrainer, balance_weights, train
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.pair_logps import sequence_logps
from rlhf.learning.unpaired import encode_unpaired
from rlhf.learning.unpaired_batches import FixedBatches, UnpairedBatch, build_table
from tests.rlhf.learning.conftest import polite_pairs

METRICS = ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected", "entropy")


class OrderedKTOTrainer(KTOTrainer):
    """TRL's trainer on tokenised rows in our order; loss, reference and metrics are TRL's own."""

    def _prepare_dataset(self, dataset, *args):
        return dataset

    def _get_train_sampler(self, train_dataset=None):
        return FixedBatches(len(self.train_dataset), 8, seed=0)


def unpaired(n_pairs: int, *, seed: int = 0):
    return [row for pair in polite_pairs(n_pairs, seed=seed) for row in read_unpaired(pair)]


def settings(folder: Path, loss_type: str) -> KTOArguments:
    return KTOArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        max_steps=6,
        logging_steps=1,
        learning_rate=1e-3,
        loss_type=loss_type,
        desirable_weight=1.0,
        undesirable_weight=1.3,
        precompute_ref_log_probs=True,
        max_length=None,
        seed=0,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def history(trainer: KTOTrainer) -> list[dict[str, float]]:
    trainer.train()
    left_out = {"epoch", "step", "learning_rate", "logps/chosen_fall", "kl/per_token"}  # the last two are ours alone
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [{name: value for name, value in entry.items() if name not in left_out} for entry in entries]


def prepare(run_dir: Path, base_model: Path, *, n_pairs: int = 32, **changes) -> KTOConfig:
    values = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 3, "dtype": "float32", "logging_steps": 1, **changes}
    config = KTOConfig(base_model=str(base_model), **values)
    prepare_run_dir(run_dir, config)
    write_rows(run_dir / "data" / "train.jsonl", unpaired(n_pairs, seed=1))
    write_rows(run_dir / "data" / "test.jsonl", unpaired(10, seed=2))
    return config


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_rows_of_weight_one_give_trls_losses_gradients_and_metrics(loss_type: str, tiny_policy: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_policy)
    rows = encode_unpaired(unpaired(22), tokenizer, max_length=128).completions  # 44 rows: the last batch is short
    table = build_table(rows, batch_size=8, seed=0)
    policy = load_policy(tiny_policy)
    ask = {"pad_id": tokenizer.pad_token_id}
    with_reference = table.add_column(
        "ref_logps", sequence_logps(policy, table["prompt_ids"], table["completion_ids"], **ask).tolist()
    ).add_column(
        "ref_KL_logps", sequence_logps(policy, table["prompt_ids"], table["KL_completion_ids"], **ask).tolist()
    )
    theirs = OrderedKTOTrainer(
        model=load_policy(tiny_policy),
        args=settings(tmp_path / "trl", loss_type),
        train_dataset=table if loss_type == "kto" else table.remove_columns("KL_completion_ids"),
        processing_class=tokenizer,
    )
    ours = CompactKTOTrainer(
        model=policy,
        args=settings(tmp_path / "ours", loss_type),
        data_collator=UnpairedBatch(tokenizer.pad_token_id, with_partners=loss_type == "kto"),
        train_dataset=with_reference,
        processing_class=tokenizer,
    )

    expected, found = history(theirs), history(ours)

    assert len(found) == 6
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-5, abs=2e-5)


def test_a_policy_learns_what_is_good_and_what_is_bad(tiny_policy: Path, tmp_path: Path):
    metrics = train(prepare(tmp_path, tiny_policy), tmp_path)

    verify_sealed(tmp_path / "checkpoints" / "final")
    assert metrics["eval_accuracy"] > 0.9
    assert metrics["eval_rewards/chosen"] > 0 > metrics["eval_rewards/rejected"]
    assert (metrics["n_desirable"], metrics["n_undesirable"], metrics["n_dropped"]) == (32, 32, 0)


def test_a_run_taken_up_at_its_checkpoint_ends_with_the_same_bytes(tiny_policy: Path, tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    metrics = train(prepare(whole, tiny_policy, max_steps=12, save_steps=7), whole)
    config = prepare(resumed, tiny_policy, max_steps=12, save_steps=7)
    (whole / "checkpoints" / "checkpoint-7").rename(resumed / "checkpoints" / "checkpoint-7")

    assert train(config, resumed) == metrics
    weights = [folder / "checkpoints" / "final" / "model.safetensors" for folder in (whole, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("settings", "n_good", "n_bad", "weights"),
    [
        ({}, 10, 10, (1.0, 1.0)),
        ({}, 10, 40, (4.0, 1.0)),
        ({}, 30, 10, (1.0, 3.0)),
        ({"desirable_weight": 2.0}, 10, 20, (2.0, 1.0)),
        ({"undesirable_weight": 1.0}, 10, 20, (2.0, 1.0)),
        ({"desirable_weight": 1.0, "undesirable_weight": 1.5}, 10, 20, (1.0, 1.5)),
        ({}, 0, 20, (1.0, 1.0)),
    ],
)
def test_weights_balance_the_sides_unless_they_are_given(settings, n_good: int, n_bad: int, weights):
    assert balance_weights(KTOConfig(**settings), [True] * n_good + [False] * n_bad) == weights


def test_each_row_of_a_batch_is_paired_with_the_completion_of_another(tiny_policy: Path):
    rows = encode_unpaired(unpaired(22), load_tokenizer(tiny_policy), max_length=128).completions

    table = build_table(rows[:41], batch_size=8, seed=0)  # the last batch holds one row

    completions, partners = list(table["completion_ids"]), list(table["KL_completion_ids"])
    for start in range(0, 40, 8):
        batch = completions[start : start + 8]
        assert partners[start : start + 8] == batch[-1:] + batch[:-1]
    assert partners[40] == completions[39]


def test_batches_stay_together_in_every_epoch_and_change_their_order():
    sampler = FixedBatches(21, 4, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))

    for order in orders:
        assert sorted(order) == list(range(21))
        assert all(order[start : start + 4] == list(range(order[start], order[start] + 4)) for start in range(0, 20, 4))
        assert order[20] == 20
    assert orders[0] != orders[1] != orders[2]


def test_rows_that_are_too_long_are_counted(tiny_policy: Path):
    tokenizer = load_tokenizer(tiny_policy)
    rows = unpaired(2)
    rows[0]["completion"][0]["content"] = "Yes. " * 100
    rows[1]["prompt"] = [
        {"role": "user", "content": "Is the shop open?" * 9},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "May I come in?"},
    ]

    encoded = encode_unpaired(rows, tokenizer, max_length=64)

    assert (len(encoded.completions), encoded.n_dropped, encoded.n_cut) == (3, 1, 1)


def test_a_batch_of_one_is_refused_where_rows_need_partners():
    with pytest.raises(ConfigError, match="batch_size must be >= 2 for loss_type=kto"):
        KTOConfig(batch_size=1)


def test_rows_that_all_outgrow_the_length_are_refused(tiny_policy: Path, tmp_path: Path):
    with pytest.raises(ContractError, match=r"train\.jsonl: no row fits in max_length=8 \(64 were too long\)"):
        train(prepare(tmp_path, tiny_policy, max_length=8), tmp_path)
