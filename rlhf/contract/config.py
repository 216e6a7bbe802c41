"""Run configurations: one frozen dataclass a kind, validated when made, JSON both ways.

The web form, the REST API, the management command and the learning process all follow their fields.
"""

from __future__ import annotations

import json

from rlhf.contract.errors import ConfigError
from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.kinds.feedback import FeedbackConfig
from rlhf.contract.kinds.grpo import GRPOConfig
from rlhf.contract.kinds.kto import KTOConfig
from rlhf.contract.kinds.merge import MergeConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.kinds.score import ScoreConfig
from rlhf.contract.kinds.sft import SFTConfig
from rlhf.contract.settings import RunConfig, build_config

CONFIGS: dict[str, type[RunConfig]] = {
    config.kind: config
    for config in (
        PretrainConfig,
        SFTConfig,
        RewardConfig,
        DPOConfig,
        KTOConfig,
        PPOConfig,
        GRPOConfig,
        MergeConfig,
        SampleConfig,
        EvaluateConfig,
        ScoreConfig,
        FeedbackConfig,
    )
}
TRAINING_KINDS = ("pretrain", "sft", "reward", "dpo", "kto", "ppo", "grpo", "merge")
# Those that several processes can share; of any other, the first process does it all.
SHARED_KINDS = ("pretrain", "sft", "reward", "dpo", "kto", "ppo", "grpo")


def load_config(text: str) -> RunConfig:
    """Return the configuration that `RunConfig.to_json` wrote. Raises: ConfigError."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("kind") not in CONFIGS:
        raise ConfigError(f"the configuration's kind must be one of {', '.join(CONFIGS)}")
    kind = values.pop("kind")
    config: RunConfig = build_config(CONFIGS[kind], values)
    return config
