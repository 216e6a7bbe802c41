import os
import signal
from pathlib import Path

import pytest
import torch
from trl.trainer.dpo_config import DPOConfig as DPOArguments
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.run_dir import prepare_run_dir, tail_metrics, verify_sealed
from rlhf.learning.batching import LengthGroupedOrder
from rlhf.learning.dpo import train
from rlhf.learning.dpo_trainer import LABELS, CompactDPOTrainer
from rlhf.learning.models import load_policy, load_tokenizer
from rlhf.learning.pair_batches import PairBatch
from rlhf.learning.pair_logps import pair_logps
from rlhf.learning.preferences import encode_pairs
from rlhf.learning.reporting import HandedBack, install_stop_signal
from rlhf.learning.tables import add_reference_logps, pair_dataset
from tests.rlhf.learning.conftest import polite_pairs, write_pairs

# Label smoothing and weight of the SFT term by loss.
LOSSES = {"sigmoid": (0.0, 0.0), "ipo": (0.0, 0.0), "hinge": (0.0, 0.5), "robust": (0.1, 0.0)}


class OrderedDPOTrainer(DPOTrainer):
    """TRL's trainer on tokenised rows in our order; loss, reference and metrics are TRL's own."""

    def _prepare_dataset(self, dataset, *args):
        return dataset

    def _get_train_sampler(self, train_dataset=None):
        return LengthGroupedOrder(self.train_dataset["n_tokens"], batch_size=8, seed=0)


def settings(folder: Path, loss_type: str) -> DPOArguments:
    return DPOArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        max_steps=4,
        logging_steps=1,
        learning_rate=1e-3,
        loss_type=[loss_type, "sft"] if LOSSES[loss_type][1] else [loss_type],
        loss_weights=[1.0, LOSSES[loss_type][1]] if LOSSES[loss_type][1] else None,
        label_smoothing=LOSSES[loss_type][0],
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


def history(trainer: DPOTrainer) -> list[dict[str, float]]:
    trainer.train()
    left_out = {"epoch", "step", "learning_rate", "logps/chosen_fall"}  # the last is ours alone
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [{name: value for name, value in entry.items() if name not in left_out} for entry in entries]


@pytest.mark.parametrize("shared", [False, True], ids=["two rows", "one row"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_plain_labels_give_trls_losses_gradients_and_metrics(
    loss_type: str, shared: bool, tiny_policy: Path, tmp_path: Path
):
    tokenizer = load_tokenizer(tiny_policy)
    pairs = encode_pairs(polite_pairs(32), tokenizer, max_length=128).pairs
    policy = load_policy(tiny_policy)
    reference = pair_logps(policy, pairs, pad_id=tokenizer.pad_token_id)
    theirs = OrderedDPOTrainer(
        model=load_policy(tiny_policy),
        args=settings(tmp_path / "trl", loss_type),
        train_dataset=pair_dataset(pairs),
        processing_class=tokenizer,
    )
    ours = CompactDPOTrainer(
        model=policy,
        args=settings(tmp_path / "ours", loss_type),
        data_collator=PairBatch(tokenizer.pad_token_id, labels=LABELS, shared=shared),
        train_dataset=add_reference_logps(pair_dataset(pairs), reference),
        processing_class=tokenizer,
        loss_type=loss_type,
        sft_coef=LOSSES[loss_type][1],
    )

    expected, found = history(theirs), history(ours)

    assert theirs.train_dataset["ref_chosen_logps"] == pytest.approx(reference[:, 0].tolist(), rel=1e-5)
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other | toss_ups(one, other), rel=2e-5, abs=2e-5)


@pytest.mark.parametrize(
    ("label", "share"),
    [({"weight": 0.0}, 0.0), ({"target": 0.5}, 0.0), ({"target": 0.75, "weight": 0.5}, 0.25), ({}, 1.0)],
)
def test_the_sft_term_imitates_the_chosen_as_surely_as_they_were_chosen(
    label: dict[str, float], share: float, tiny_policy: Path, tmp_path: Path
):
    tokenizer, policy = load_tokenizer(tiny_policy), load_policy(tiny_policy)

    def measure(sft_coef: float, rows: list[dict]) -> float:
        pairs = encode_pairs(rows, tokenizer, max_length=128).pairs
        reference = pair_logps(policy, pairs, pad_id=tokenizer.pad_token_id)
        trainer = CompactDPOTrainer(
            model=policy,
            args=settings(tmp_path, "sigmoid"),
            data_collator=PairBatch(tokenizer.pad_token_id, labels=LABELS),
            train_dataset=add_reference_logps(pair_dataset(pairs), reference),
            processing_class=tokenizer,
            loss_type="sigmoid",
            sft_coef=sft_coef,
        )
        batch = next(iter(trainer.get_train_dataloader()))
        return trainer.compute_loss(policy, trainer._prepare_inputs(batch)).item()

    rows = polite_pairs(8)
    whole = measure(1.0, rows) - measure(0.0, rows)
    labeled = [row | label for row in rows]

    assert whole > 1
    assert measure(1.0, labeled) - measure(0.0, labeled) == pytest.approx(share * whole, abs=1e-5)


def toss_ups(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the accuracy as it is where the policy still is its reference: there the last digit decides each pair."""
    is_decided = abs(other["rewards/margins"]) > 1e-6
    return {} if is_decided else {"rewards/accuracies": one["rewards/accuracies"]}


def test_a_run_learns_the_rule_against_its_own_start(tiny_policy: Path, tmp_path: Path):
    config = DPOConfig(
        base_model=str(tiny_policy), batch_size=8, learning_rate=1e-3, epochs=2, logging_steps=1, dtype="float32"
    )
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = train(config, tmp_path)

    final = tmp_path / "checkpoints" / "final"
    tokenizer = load_tokenizer(final)
    pairs = encode_pairs(polite_pairs(20, seed=2), tokenizer, max_length=256).pairs
    pad_id = tokenizer.pad_token_id
    ratios = pair_logps(load_policy(final), pairs, pad_id=pad_id) - pair_logps(
        load_policy(tiny_policy), pairs, pad_id=pad_id
    )
    lines, _ = tail_metrics(tmp_path, 0)
    verify_sealed(final)
    assert metrics["eval_rewards/accuracies"] == 1.0
    assert metrics["eval_rewards/margins"] == pytest.approx(0.1 * (ratios[:, 0] - ratios[:, 1]).mean().item(), rel=1e-4)
    assert lines[0]["values"]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert lines[0]["values"]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


def test_a_price_of_length_is_in_the_loss_of_a_run(tiny_policy: Path, tmp_path: Path):
    price = 0.05
    tokenizer = load_tokenizer(tiny_policy)
    config = DPOConfig(
        base_model=str(tiny_policy), batch_size=8, max_steps=1, logging_steps=1, dtype="float32", length_coef=price
    )
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=8, n_test=8)
    pairs = encode_pairs(polite_pairs(8, seed=1), tokenizer, max_length=config.max_length).pairs
    longer = torch.tensor([len(pair.chosen_ids) - len(pair.rejected_ids) for pair in pairs])

    train(config, tmp_path)

    first = next(row["values"] for row in tail_metrics(tmp_path, 0)[0] if "loss" in row["values"])
    # Before its first step the policy is its reference, so nothing but length tells the completions apart.
    assert longer.any()
    assert first["loss"] == pytest.approx(-torch.nn.functional.logsigmoid(price * longer).mean().item(), rel=1e-4)


@pytest.mark.parametrize("loss_type", ["simpo", "orpo"])
def test_a_loss_without_a_reference_learns_the_rule_too(loss_type: str, tiny_policy: Path, tmp_path: Path):
    config = DPOConfig(
        base_model=str(tiny_policy),
        batch_size=8,
        learning_rate=1e-3,
        epochs=2,
        loss_type=loss_type,
        beta=2.0,
        sft_coef=1.0 if loss_type == "orpo" else 0.0,
        dtype="float32",
    )
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=64, n_test=20)

    metrics = train(config, tmp_path)

    assert metrics["eval_rewards/accuracies"] == 1.0
    assert metrics["eval_rewards/margins"] > 0


def test_the_reference_is_as_rough_as_the_policy(tiny_policy: Path, tmp_path: Path):
    config = DPOConfig(base_model=str(tiny_policy), batch_size=8, max_steps=1, logging_steps=1, dtype="bfloat16")
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=8, n_test=4)

    train(config, tmp_path)

    first = tail_metrics(tmp_path, 0)[0][0]["values"]
    assert first["loss"] == pytest.approx(0.693147, abs=2e-3)
    assert abs(first["rewards/chosen"]) < 5e-3


@torch.no_grad()
def test_logps_of_pairs_do_not_depend_on_who_shares_their_batch(tiny_policy: Path):
    tokenizer, policy = load_tokenizer(tiny_policy), load_policy(tiny_policy)
    pairs = encode_pairs(polite_pairs(12), tokenizer, max_length=128).pairs

    together = pair_logps(policy, pairs, pad_id=tokenizer.pad_token_id)
    alone = torch.cat([pair_logps(policy, [pair], pad_id=tokenizer.pad_token_id) for pair in pairs])

    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


def test_a_stop_during_the_reference_pass_hands_the_run_back(tiny_policy: Path, tmp_path: Path):
    config = DPOConfig(base_model=str(tiny_policy), batch_size=8)
    prepare_run_dir(tmp_path, config)
    write_pairs(tmp_path, n_train=8, n_test=4)
    before = signal.getsignal(signal.SIGTERM)
    install_stop_signal()
    os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(HandedBack, match="stopped after 16 of 16 reference log-probabilities"):
        train(config, tmp_path)

    install_stop_signal()
    signal.signal(signal.SIGTERM, before)
    assert list((tmp_path / "checkpoints").iterdir()) == []
