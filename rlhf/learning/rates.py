"""The peak learning rate of a run that names none: a rate for small models, less for larger ones, more for adapters."""

from __future__ import annotations

import math

from transformers import PreTrainedModel

from rlhf.contract.settings import RatedConfig

# Found with models of one to two million weights. From there on the rates of published recipes fall about with the square
# root of the number of weights: at seven billion these come to 2e-5 for SFT, 4e-6 for DPO and 6e-6 for reward models.
SMALL = 3e6
RATES = {"sft": 1e-3, "reward": 3e-4, "dpo": 2e-4, "kto": 2e-4, "grpo": 1e-4}
# Adapters begin at nothing and are few: they stand, and need, about ten times the rate (Schulman et al. 2025, "LoRA without
# regret"), up to where small ones begin to swing.
TIMES_OF_ADAPTERS, HIGHEST_OF_ADAPTERS = 10, 1e-3


def peak_rate(config: RatedConfig, model: PreTrainedModel) -> float:
    """Return the rate of a run: what it is configured to be, or where that is 0 what suits the model's size."""
    named: float = config.learning_rate
    if named:
        return named
    rate = RATES[config.kind] * min(1.0, math.sqrt(SMALL / model.num_parameters()))
    return min(TIMES_OF_ADAPTERS * rate, HIGHEST_OF_ADAPTERS) if config.lora_rank else rate
