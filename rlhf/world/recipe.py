"""The demo's settings, found with benchmarks/first_circle.py on two CPU cores."""

from __future__ import annotations

from rlhf.contract.config import DPOConfig, PretrainConfig, RewardConfig, SampleConfig, SFTConfig

N_DEMONSTRATIONS = 2500
N_LABELS_A_ROUND = 300

PRETRAIN = PretrainConfig()
# base_model is the caller's to fill in.
SFT = SFTConfig(batch_size=32, epochs=2.0)
SAMPLE = SampleConfig(n=2, temperature=0.9, max_new_tokens=80)
DPO = DPOConfig(batch_size=16, epochs=3.0, beta=0.1, learning_rate=3e-4)
REWARD = RewardConfig(batch_size=16, epochs=2.0)
