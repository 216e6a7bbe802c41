"""What an optimizer step costs, ours against plain TRL on the same rows, in the same process, with the same losses.

    PYTHONPATH=. python benchmarks/training.py [--steps 8] [--rounds 3] [--only dpo reward sft]

A 20-million-parameter Llama with 32 thousand tokens on the CPU, fp32, random weights and random ids. DPO, reward and
SFT run against the installed TRL: ours and theirs in turn, `rounds` times; printed are the medians of the seconds a step,
their ratio, that of the CPU seconds, which a busy neighbour hardly moves, and the first losses, which must agree. PPO has a
script of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1", OMP_WAIT_POLICY="PASSIVE"
)

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from transformers.utils import logging

from rlhf.learning.tokenization import train_tokenizer

VOCAB = 32_000
SHAPE = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4}
N_PROMPT, N_COMPLETION = 128, 48
BATCH = 4
SAME_LOSS = 1e-4
LOGGING = 4  # both sides log the mean loss of as many steps, which they pay for equally


def quieten() -> None:
    """Keep the libraries' reports out of ours."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Watch(TrainerCallback):
    """Notes when each step ended, and each logged loss."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, float]] = []  # seconds of the wall and of the processor
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.note_step()

    def note_step(self) -> None:
        """A step ends now."""
        self.ended.append((time.perf_counter(), time.process_time()))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))

    @property
    def steps_s(self) -> list[tuple[float, float]]:
        """Seconds of every step but the first two, which warm up, by both clocks."""
        return [(later[0] - sooner[0], later[1] - sooner[1]) for sooner, later in itertools.pairwise(self.ended[1:])]


def build_tokenizer() -> Any:
    """Return a tokenizer with a padding token of its own; the rows hold ids it has never written."""
    draw = random.Random(0)
    return train_tokenizer((" ".join(draw.choices("abcdefgh", k=20)) for _ in range(50)), vocab_size=300)


TOKENIZER = build_tokenizer()


def build_model(*, score: bool = False, **sizes: int) -> Any:
    """Return the model of the benchmark, the same at every call. sizes: other ones than those of 20 million parameters."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCAB,
        **(SHAPE | sizes),
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=TOKENIZER.bos_token_id,
        num_labels=1,
    )
    return (LlamaForSequenceClassification if score else LlamaForCausalLM)(shape)


def draw_pairs(n: int, *, varied: bool) -> list[dict[str, list[int]]]:
    """Return pairs of random ids, all of one length or of lengths between a quarter and the whole of it."""
    draw = random.Random(1)

    def ids(length: int) -> list[int]:
        return draw.choices(range(400, VOCAB), k=draw.randrange(length // 4, length + 1) if varied else length)

    return [
        {"prompt_ids": ids(N_PROMPT), "chosen_ids": ids(N_COMPLETION), "rejected_ids": ids(N_COMPLETION)}
        for _ in range(n)
    ]


def trainer_settings(folder: str, n_steps: int) -> dict[str, Any]:
    """Return what ours and theirs are both told."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": BATCH,
        "max_steps": n_steps,
        "logging_steps": LOGGING,
        "learning_rate": 1e-4,
        "seed": 0,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def keep_rows(trainer: type) -> type:
    """Return a TRL trainer that takes tokenised rows, in the order of our own, and is TRL's in all else."""
    from rlhf.learning.batching import LengthGroupedOrder  # noqa: PLC0415 -- not for the process of the older TRL

    class Plain(trainer):  # type: ignore[misc, valid-type]
        def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
            return dataset

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return LengthGroupedOrder(self.train_dataset["n_tokens"], batch_size=BATCH, seed=0)

    return Plain


def time_trainer(trainer: Any) -> Watch:
    watch = Watch()
    trainer.add_callback(watch)
    trainer.train()
    return watch


def encode(pairs: list[dict[str, list[int]]]) -> list[Any]:
    from rlhf.learning.preferences import EncodedPair  # noqa: PLC0415 -- as above

    return [EncodedPair(**pair, target=1.0, weight=1.0, margin=0.0, chosen_chars=1, rejected_chars=1) for pair in pairs]


def run_dpo(pairs: list[dict[str, list[int]]], folder: str, n_steps: int) -> dict[str, Callable[[], Watch]]:
    from trl import DPOConfig as Arguments  # noqa: PLC0415 -- the installed TRL
    from trl import DPOTrainer  # noqa: PLC0415

    from rlhf.contract.kinds.dpo import DPOConfig  # noqa: PLC0415
    from rlhf.contract.run_dir import prepare_run_dir  # noqa: PLC0415
    from rlhf.learning.dpo import build_trainer  # noqa: PLC0415
    from rlhf.learning.lean import make_lean  # noqa: PLC0415
    from rlhf.learning.tables import pair_dataset  # noqa: PLC0415

    def ours() -> Watch:
        config = DPOConfig(
            batch_size=BATCH,
            max_steps=n_steps,
            logging_steps=LOGGING,
            learning_rate=1e-4,
            seed=0,
            warmup_ratio=0.0,
            dtype="float32",
        )
        prepare_run_dir(Path(folder), config)
        return time_trainer(
            build_trainer(
                config, Path(folder), policy=make_lean(build_model()), tokenizer=TOKENIZER, pairs=encode(pairs)
            )
        )

    def theirs() -> Watch:
        arguments = Arguments(**trainer_settings(folder, n_steps), precompute_ref_log_probs=True, max_length=None)
        table = pair_dataset(encode(pairs))
        return time_trainer(
            keep_rows(DPOTrainer)(model=build_model(), args=arguments, train_dataset=table, processing_class=TOKENIZER)
        )

    return {"ours": ours, "trl": theirs}


def run_reward(pairs: list[dict[str, list[int]]], folder: str, n_steps: int) -> dict[str, Callable[[], Watch]]:
    from trl import RewardConfig as Arguments  # noqa: PLC0415
    from trl import RewardTrainer  # noqa: PLC0415

    from rlhf.learning.lean import make_lean  # noqa: PLC0415
    from rlhf.learning.models import choose_attention  # noqa: PLC0415
    from rlhf.learning.pair_batches import PairRows  # noqa: PLC0415
    from rlhf.learning.reward_model import shares_prompts  # noqa: PLC0415 -- as above
    from rlhf.learning.reward_trainer import LABELS, SoftRewardTrainer  # noqa: PLC0415
    from rlhf.learning.tables import pair_dataset  # noqa: PLC0415

    encoded = encode(pairs)
    settings = trainer_settings(folder, n_steps) | {"remove_unused_columns": False, "max_length": None}

    def ours() -> Watch:
        model = make_lean(build_model(score=True))
        choose_attention(model, longest_row=max(pair.n_tokens for pair in encoded))
        shared = shares_prompts(model, encoded, pad_id=TOKENIZER.pad_token_id)
        return time_trainer(
            SoftRewardTrainer(
                model=model,
                args=Arguments(**settings),
                data_collator=PairRows(TOKENIZER.pad_token_id, labels=(*LABELS, "row"), shared=shared),
                train_dataset=pair_dataset(encoded),
                processing_class=TOKENIZER,
            )
        )

    def theirs() -> Watch:
        rows = [
            {side: pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids")}
            | {"n_tokens": each.n_tokens}
            for pair, each in zip(pairs, encoded, strict=True)
        ]
        return time_trainer(
            keep_rows(RewardTrainer)(
                model=build_model(score=True),
                args=Arguments(**settings),
                train_dataset=Dataset.from_list(rows),
                processing_class=TOKENIZER,
            )
        )

    return {"ours": ours, "trl": theirs}


def run_sft(pairs: list[dict[str, list[int]]], folder: str, n_steps: int) -> dict[str, Callable[[], Watch]]:
    from rlhf.contract.kinds.sft import SFTConfig  # noqa: PLC0415
    from rlhf.contract.run_dir import prepare_run_dir  # noqa: PLC0415
    from rlhf.learning.batching import LengthGroupedOrder  # noqa: PLC0415
    from rlhf.learning.lean import make_lean  # noqa: PLC0415
    from rlhf.learning.logps import build_batch  # noqa: PLC0415
    from rlhf.learning.models import choose_attention  # noqa: PLC0415
    from rlhf.learning.sft import answer_loss  # noqa: PLC0415
    from rlhf.learning.training_loop import TrainingLoop  # noqa: PLC0415

    n_tokens = [len(pair["prompt_ids"]) + len(pair["chosen_ids"]) for pair in pairs]
    order = list(LengthGroupedOrder(n_tokens, batch_size=BATCH, seed=0))

    def ours() -> Watch:
        config = SFTConfig(
            batch_size=BATCH,
            max_steps=n_steps,
            logging_steps=LOGGING,
            learning_rate=1e-4,
            warmup_ratio=0.0,
            dtype="float32",
        )
        prepare_run_dir(Path(folder), config)
        model, watch, seen = make_lean(build_model()), Watch(), []
        choose_attention(model, longest_row=max(n_tokens))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
        loop = TrainingLoop(
            config, Path(folder), stage="sft", model=model, tokenizer=TOKENIZER, optimizers=[optimizer], n_steps=n_steps
        )

        def compute_losses(step: int) -> list[torch.Tensor]:
            watch.note_step()  # of the step before
            chosen = [pairs[row] for row in order[step * BATCH : (step + 1) * BATCH]]
            prompts, answers = ([pair[side] for pair in chosen] for side in ("prompt_ids", "chosen_ids"))
            loss = answer_loss(model, build_batch(prompts, answers, pad_id=TOKENIZER.pad_token_id))
            seen.append(loss.detach())
            return [loss]

        loop.run(compute_losses)
        watch.losses.append(torch.stack(seen[:LOGGING]).mean().item())
        return watch

    return {"ours": ours, "trl": lambda: time_trl_sft(pairs, folder, n_steps, n_tokens=n_tokens)}


def time_trl_sft(pairs: list[dict[str, list[int]]], folder: str, n_steps: int, *, n_tokens: list[int]) -> Watch:
    """Fine-tune by TRL's own trainer and return its watch."""
    from trl import SFTConfig as Arguments  # noqa: PLC0415
    from trl import SFTTrainer  # noqa: PLC0415

    rows = [
        {
            "input_ids": pair["prompt_ids"] + pair["chosen_ids"],
            # What TRL makes of a completion_mask while it prepares rows, which these need not be.
            "labels": [-100] * len(pair["prompt_ids"]) + pair["chosen_ids"],
            "n_tokens": length,
        }
        for pair, length in zip(pairs, n_tokens, strict=True)
    ]
    arguments = Arguments(**trainer_settings(folder, n_steps), completion_only_loss=True, max_length=None)
    return time_trainer(
        keep_rows(SFTTrainer)(
            model=build_model(), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=TOKENIZER
        )
    )


def compare(method: str, *, n_steps: int, n_rounds: int, varied: bool) -> None:
    """Run ours and theirs in turn and print one row."""
    build = {"dpo": run_dpo, "reward": run_reward, "sft": run_sft}[method]
    pairs = draw_pairs(BATCH * n_steps, varied=varied)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "trl": []}
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = build(pairs, folder, n_steps)
        for _ in range(n_rounds):
            for side, run in sides.items():
                watch = run()
                found[side] += watch.steps_s
                losses[side] = watch.losses[0]
    (ours, ours_cpu), (theirs, theirs_cpu) = (
        [statistics.median(seconds) for seconds in zip(*found[side], strict=True)] for side in ("ours", "trl")
    )
    tokens = sum(len(pair["prompt_ids"]) + len(pair["chosen_ids"]) for pair in pairs)
    tokens += 0 if method == "sft" else sum(len(pair["prompt_ids"]) + len(pair["rejected_ids"]) for pair in pairs)
    if abs(losses["ours"] - losses["trl"]) > SAME_LOSS:
        raise SystemExit(
            f"{method}: the first losses are {losses['ours']:.5f} and {losses['trl']:.5f}: not the same run"
        )
    lengths = "varied lengths" if varied else "equal lengths"
    rows_per_s = (
        f"{BATCH / ours:.1f} {'rows' if method == 'sft' else 'pairs'}/s, {tokens / n_steps / ours:,.0f} tokens/s"
    )
    print(
        f"{method:7} {lengths:15} ours {ours:.3f} s a step ({rows_per_s}), TRL {theirs:.3f} s: "
        f"{theirs / ours:.2f} times faster, {theirs_cpu / ours_cpu:.2f} times less CPU; "
        f"their first losses {losses['ours']:.5f} and {losses['trl']:.5f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["dpo", "reward", "sft"])
    options = parser.parse_args()
    quieten()
    for method in options.only:
        for varied in (False, True):
            compare(method, n_steps=options.steps, n_rounds=options.rounds, varied=varied)


if __name__ == "__main__":
    main()
