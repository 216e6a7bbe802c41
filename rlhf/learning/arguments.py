"""Our run configuration in the words of transformers' TrainingArguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlhf.contract.run_dir import CHECKPOINTS
from rlhf.contract.settings import TrainingConfig
from rlhf.learning.models import pick_device, pick_dtype
from rlhf.learning.processes import split_batch


def training_settings(config: TrainingConfig, run_dir: Path, *, learning_rate: float) -> dict[str, Any]:
    """Return the keyword arguments that every Trainer of ours shares."""
    device = pick_device()
    return {
        "output_dir": str(run_dir / CHECKPOINTS),
        "per_device_train_batch_size": split_batch(config.batch_size),
        "max_steps": config.max_steps or -1,
        "num_train_epochs": config.epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": config.warmup_ratio,
        "max_grad_norm": config.max_grad_norm,
        "logging_steps": config.logging_steps,
        "logging_nan_inf_filter": False,  # it would hide a diverged loss behind the mean of the ones before
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": None,  # ours are sealed, and forgotten by ourselves
        "seed": config.seed,
        "bf16": pick_dtype(config.dtype, device) == torch.bfloat16,
        "use_cpu": device.type == "cpu",  # without it bf16 is refused where there is no GPU
        "gradient_checkpointing": False,  # costs a forward pass a step, and small models have the memory
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "remove_unused_columns": False,  # our collators pick the columns themselves
        "disable_tqdm": True,
        "report_to": [],
    }
