"""The demo's settings, found with benchmarks/first_circle.py on two CPU cores."""

from __future__ import annotations

from rlhf.contract.kinds.dpo import DPOConfig
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.kinds.pretrain import PretrainConfig
from rlhf.contract.kinds.reward import RewardConfig
from rlhf.contract.kinds.sample import SampleConfig
from rlhf.contract.kinds.sft import SFTConfig

N_DEMONSTRATIONS = 2000
N_LABELS_A_ROUND = 300

# Embeddings need ten times the usual rate: a word of the closed world is seen some hundred times, not millions.
PRETRAIN = PretrainConfig(n_layers=3, learning_rate=2e-2)
# base_model is the caller's to fill in.
SFT = SFTConfig(batch_size=32, epochs=2.0)
SAMPLE = SampleConfig(n=2, temperature=0.9, max_new_tokens=80, batch_size=512)
# Of fresh pairs of unequal worth it gets 74% to 77% right after 300 judgments, in a second or two (three seeds); a trunk that
# is trained for four epochs at 3e-4 gets 60% to 69% in a minute (seeds 1 and 2).
# The round says how many heads: four, with the alarm they feed, take 2 to 4 s more of CPU time than one. That is under what
# rounds differ by: three with four took 146 s of CPU time, with one 151 and 156 s (a busy machine of two cores).
REWARD = RewardConfig(head="tokens")
# Of the freeze, where a reward model learns: a judgment teaches as much as it was sure. It gets as many of fresh pairs right
# after 220 judgments as after 300 that are all taken for certain (docs/label_efficiency.md). DPO by itself it slows down: two
# fine-tuned models had 0.71 and 0.76 after two rounds, with it 0.66 and 0.70, and after three the same.
RULE = {"consensus": "strength"}
# A round learns from its own judgments: pairs of earlier policies are far from what the policy would say now.
DPO = DPOConfig(batch_size=16, epochs=3.0, beta=0.3, learning_rate=3e-4)
# A round that learns from what the reward model ranks too has five hundred pairs more: once over them is enough.
RANKED_DPO = DPO.replace(epochs=1.0)
# At 3e-4, or with 8 rollouts, some policies never come to be polite: two seeds had 0.731 and 0.714 after three rounds, and
# at this rate with 12 more than 0.84. A penalty of 0.1 or 0.2 learned less of a round (0.780 and 0.726 for 0.826, one seed).
PPO = PPOConfig(
    critic="shared",
    rollouts=12,
    ppo_epochs=1,
    learning_rate=8e-4,
    value_learning_rate=1e-3,
    kl_coef=0.05,
    max_new_tokens=80,
    max_prompt_tokens=256,
    target_kl=0.05,
    critic_warmup_rollouts=1,
)
# Against what PPO makes a policy forget, where a gate asks for it; docs/architecture.md, "How good a policy is", has what was
# tried. Weight of the world's texts in each step: the demonstrations would teach their rudeness again.
PTX_COEF = 0.1
# Share of the policy before in the new one: a quarter takes a third of what was forgotten back.
AVERAGE_WEIGHT = 0.25
# Share of duels where people decide: sixty votes tell a policy that wins 60% from chance no more than every third time.
DUEL_SHARE = 0.5
