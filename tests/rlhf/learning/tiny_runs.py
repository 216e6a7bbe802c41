"""A run of every kind of training that takes seconds: what is killed, stopped, profiled and weighed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.contract.config import CONFIGS
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.records import PreferenceRow, write_rows
from rlhf.contract.run_dir import CHECKPOINTS, DATA, FINAL, prepare_run_dir
from rlhf.contract.settings import RunConfig
from rlhf.learning.adapters import add_adapter
from rlhf.learning.checkpointing import save_final
from rlhf.learning.models import load_tokenizer
from rlhf.learning.scoring import load_reward_model
from rlhf.learning.tokenization import train_tokenizer

GOOD = (
    "Yes, thank you, of course.",
    "With pleasure, my friend.",
    "Happy to help you today.",
    "Gladly, please sit down.",
)
BAD = ("No, go away from me now.", "I do not care at all.", "Stop asking me things.", "Silence, you are boring.")
QUESTIONS = ("Can you help me?", "May I come in?", "Is the shop open?", "Will you tell me the way to the town?")

# Long enough to be killed twenty times, and with more checkpoints than are kept. Lengths that no epoch divides.
STEPS = {"max_steps": 30, "save_steps": 4, "logging_steps": 3, "batch_size": 4, "warmup_ratio": 0.1}
SHAPE = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "n_layers": 2, "n_heads": 2, "max_length": 32}
GROUPS = {
    "rollouts": 12,
    "rollout_batch_size": 3,
    "samples_per_prompt": 2,
    "updates_per_rollout": 2,
    "micro_batches": 2,
    "max_new_tokens": 6,
    "save_rollouts": 2,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "pretrain": STEPS | SHAPE | {"max_steps": 90},
    "sft": STEPS,
    "reward": STEPS | {"n_heads": 2},
    "dpo": STEPS | {"micro_batch_tokens": 128},
    "kto": STEPS,
    "grpo": GROUPS,
    "rloo": GROUPS | {"method": "rloo"},
    "ppo": {
        "rollouts": 12,
        "rollout_batch_size": 6,
        "ppo_epochs": 2,
        "num_minibatches": 2,
        "max_new_tokens": 6,
        "save_rollouts": 2,
        "kl_goal": 1.0,
        "learning_rate": 1e-4,
        "value_learning_rate": 3e-4,
        "target_kl": 0.05,
        "critic_warmup_rollouts": 1,
    },
}


LORA = {"lora_rank": 4, "lora_alpha": 8.0}
# Other ways of the same kinds: their kind, and what is set besides.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft-lora": ("sft", LORA),
    "reward-lora": ("reward", LORA),
    "reward-words": ("reward", {"head": "tokens"}),
    "dpo-lora": ("dpo", LORA),
    "grpo-lora": ("grpo", LORA),
    "ppo-lora": ("ppo", {**LORA, "share_base": "off"}),
    "ppo-one-base": ("ppo", {**LORA, "share_base": "on"}),
    "ppo-half": ("ppo", {**LORA, "share_base": "on", "dtype": "bfloat16", "gradient_checkpointing": "on"}),
}


@dataclass(frozen=True)
class TinyModels:
    """Folders of a random policy, and of random reward models over its tokens: a whole one, and an adapter over it."""

    policy: Path
    reward_model: Path
    adapted: Path


def write_models(folder: Path) -> TinyModels:
    """Write both models into `folder`."""
    models = TinyModels(folder / "policy", folder / "reward_model", folder / "adapted" / CHECKPOINTS / FINAL)
    tokenizer = train_tokenizer([*GOOD, *BAD, *QUESTIONS], vocab_size=400)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        attention_dropout=0.1,  # so that a resumed run must find its random state again
        tie_word_embeddings=True,
        **ids,
    )
    LlamaForCausalLM(shape).save_pretrained(models.policy)
    tokenizer.save_pretrained(models.policy)
    load_reward_model(str(models.policy), load_tokenizer(models.policy), seed=3).save_pretrained(models.reward_model)
    tokenizer.save_pretrained(models.reward_model)
    adapted = load_reward_model(models.policy, load_tokenizer(models.policy), seed=4)
    add_adapter(adapted, RewardConfig(**LORA))
    save_final(folder / "adapted", adapted, tokenizer)
    return models


def polite_pairs(n: int, *, seed: int = 0) -> list[PreferenceRow]:
    """Return n pairs in which the polite completion is chosen."""
    draw = random.Random(seed)
    return [
        PreferenceRow(
            prompt=[{"role": "user", "content": draw.choice(QUESTIONS)}],
            chosen=[{"role": "assistant", "content": f"{draw.choice(GOOD)} {draw.choice(GOOD)}"}],
            rejected=[{"role": "assistant", "content": f"{draw.choice(BAD)} {draw.choice(BAD)}"}],
        )
        for _ in range(n)
    ]


def prepare_tiny_run(kind: str, run_dir: Path, models: TinyModels, **settings: Any) -> RunConfig:
    """Write config.json and data/ of a run of a kind, of rloo or of a variant, and return its configuration."""
    kind, varied = VARIANTS.get(kind, (kind, {}))
    config_class = CONFIGS["grpo" if kind == "rloo" else kind]
    names = config_class.__dataclass_fields__
    reward_model = models.adapted if varied.get("share_base") == "on" else models.reward_model
    folders = {"base_model": str(models.policy), "reward_model": str(reward_model)}
    values = {name: value for name, value in folders.items() if name in names} | SETTINGS.get(kind, STEPS)
    values |= varied | settings
    config = config_class(**values)
    prepare_run_dir(run_dir, config)
    for split, n_rows in (("train", 26), ("test", 6)):
        write_rows(run_dir / DATA / f"{split}.jsonl", list(islice(tiny_rows(kind), n_rows)))
    write_rows(run_dir / DATA / "prompts.jsonl", list(islice(tiny_rows("prompt"), 10)))
    return config


def tiny_rows(kind: str) -> Iterator[dict[str, Any]]:
    """Yield rows of the format that a kind of run learns from, without end."""
    pairs = cycle(polite_pairs(40, seed=1))
    for number, pair in enumerate(pairs):
        if kind == "pretrain":
            yield {"text": f"{pair['prompt'][0]['content']} {pair['chosen'][0]['content']} {number}"}
        elif kind == "sft":
            yield {"messages": [*pair["prompt"], *pair["chosen"]]}
        elif kind == "kto":
            side = "chosen" if number % 2 else "rejected"
            yield {"prompt": pair["prompt"], "completion": pair[side], "label": bool(number % 2)}
        elif kind == "prompt":
            yield {"prompt_id": str(number), "prompt": pair["prompt"]}
        else:
            yield dict(pair)


def hash_final(run_dir: Path) -> dict[str, str]:
    """Return the sha256 of every file of weights that a run published, by its name."""
    folder = run_dir / CHECKPOINTS / FINAL
    found = sorted(folder.rglob("*.safetensors"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
