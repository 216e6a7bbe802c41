"""Where PPO's rollouts come from: prompts in a seeded order, completions of the policy, their scores."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.advantages import steer_kl_coef
from rlhf.learning.backends import Backend
from rlhf.learning.batching import split_evenly
from rlhf.learning.experience import Experience, ScoreScale, build_experience, measure_scale
from rlhf.learning.frozen_critic import FrozenCritic
from rlhf.learning.generation import Decoding, Rollout
from rlhf.learning.models import autocast
from rlhf.learning.processes import gather_parts, share_of, sum_over_processes
from rlhf.learning.rewards import Reward
from rlhf.learning.rollout_metrics import describe_rollout
from rlhf.learning.scorer import CUT, count_cut

# Far apart, so that no two rollouts of one run and no two neighbouring seeds draw the same numbers.
ROLLOUT_SEED_STRIDE = 1_000_003


def share_by_length(completions: list[Rollout]) -> list[int]:
    """Return the rows that this process scores, long ones first."""
    return share_of(sorted(range(len(completions)), key=lambda row: -len(completions[row].ids)))


class RolloutSource:
    """Draws a run's rollouts. The n-th depends on the seed, on n and on the models alone.

    Args:
        prompts: token ids of the prompts, generation prompt included.
        reference: the frozen policy of the KL penalty.
        rewards: what a completion's raw score is the sum of, by name. scores: the reward model's, if it is among them.
        backend: draws the completions. stop_ids: token ids that end one.
        dtype: of the trunks' matrix products.
    """

    def __init__(
        self,
        config: PPOConfig,
        *,
        prompts: list[list[int]],
        reference: PreTrainedModel,
        rewards: dict[str, Reward],
        backend: Backend,
        stop_ids: list[int],
        pad_id: int,
        scores: Reward | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.prompts = prompts
        self.reference = reference.requires_grad_(False)
        self.reference.train(False)
        self.rewards = rewards
        self.scores = scores
        self.backend = backend
        self.stop_ids = stop_ids
        self.pad_id = pad_id
        self.dtype = dtype
        self.scale: ScoreScale | None = None
        self.kl_coef = config.kl_coef
        self.cut_frac = 0.0  # of the last rollout's scores

    def draw(self, number: int, models: ActorCritic) -> tuple[Experience, dict[str, float]]:
        """Return the rollout of a number, counted from 0, and its metrics."""
        started_s = time.monotonic()
        chosen = [self.prompts[row] for row in self.choose_prompts(number)]
        completions = self.sample(chosen, number, models)
        prompts = [prompt for prompt in chosen for _ in range(self.config.samples_per_prompt)]
        generated_s = time.monotonic()
        parts = self.score(prompts, completions)
        states = self.read_states(prompts, completions, models)
        raw_scores = torch.stack(list(parts.values())).sum(0)  # (B,)
        experience = build_experience(
            prompts,
            completions,
            raw_scores,
            models=models,
            reference=self.reference,
            scale=self.scale or self.fix_scale(raw_scores, models),
            kl_coef=self.kl_coef,
            config=self.config,
            pad_id=self.pad_id,
            dtype=self.dtype,
            states=states,
        )
        metrics = {
            **describe_rollout(experience),
            **{f"rewards/{name}/mean": part.mean().item() for name, part in parts.items()},
            CUT: self.cut_frac,
            "episode": float((number + 1) * self.config.n_completions),
            "kl_coef": self.kl_coef,
            "time/generate": generated_s - started_s,
            "time/score": time.monotonic() - generated_s,
        }
        self.steer(metrics["objective/kl"])
        return experience, metrics

    def steer(self, kl: float) -> None:
        """Set the weight of the KL penalty for the next rollout; this one's rewards are fixed."""
        if self.config.kl_goal:
            self.kl_coef = steer_kl_coef(
                self.kl_coef,
                kl,
                goal=self.config.kl_goal,
                n_completions=self.config.n_completions,
                horizon=self.config.kl_horizon,
            )

    def score(self, prompts: list[list[int]], completions: list[Rollout]) -> dict[str, Tensor]:
        """Return the weighted rewards of completions by name: (B,) each. Processes score a part each."""
        mine = share_by_length(completions)
        parts = torch.zeros(len(self.rewards), len(prompts))
        n_cut = torch.zeros(1, device=self.reference.device)
        for part, reward in zip(parts, self.rewards.values(), strict=True):
            if mine:
                part[mine] = reward([prompts[row] for row in mine], [completions[row].ids for row in mine]).cpu()
        if mine and self.scores is not None:
            n_cut += count_cut(self.scores)
        self.cut_frac = sum_over_processes(n_cut).item() / len(prompts)
        whole = sum_over_processes(parts.to(self.reference.device))
        return dict(zip(self.rewards, whole, strict=True))

    def read_states(self, prompts: list[list[int]], completions: list[Rollout], models: ActorCritic) -> Tensor | None:
        """Return what a critic with a frozen trunk gives values to, (B, C + 1, H), or None for one that learns whole.

        Each process brings what it scored: where the reward model's trunk is the critic's, that pass has read it already.
        """
        if not isinstance(models.critic, FrozenCritic):
            return None
        return models.critic.read(prompts, [rollout.ids for rollout in completions], share_by_length(completions))

    def sample(self, prompts: list[list[int]], number: int, models: ActorCritic) -> list[Rollout]:
        """Return samples_per_prompt completions of each prompt, prompt by prompt. Processes draw a part each."""
        mine = share_of(sorted(range(len(prompts)), key=lambda index: -len(prompts[index])))
        with autocast(self.reference.device, self.dtype):
            drawn = self.backend(
                models.policy,
                prompts,
                Decoding(self.config.temperature, 1.0, self.config.max_new_tokens, self.stop_ids),
                n=self.config.samples_per_prompt,
                seed=self.config.seed + ROLLOUT_SEED_STRIDE * (number + 1),
                only=mine,
            )
        parts = gather_parts(dict(zip(mine, drawn, strict=True)))
        by_prompt = {index: each for part in parts for index, each in part.items()}
        return [rollout for index in range(len(prompts)) for rollout in by_prompt[index]]

    def fix_scale(self, raw_scores: Tensor, models: ActorCritic) -> ScoreScale:
        """Take the scale of scores from the first rollout: nothing is learned yet, so it is the reference's."""
        is_normed = self.config.reward_norm == "reference"
        self.restore_scale(measure_scale(raw_scores) if is_normed else ScoreScale(0.0, 1.0), models)
        assert self.scale is not None
        return self.scale

    def restore_scale(self, scale: ScoreScale, models: ActorCritic) -> None:
        """Use a scale for the scores and for the critic's values."""
        self.scale = scale
        models.critic.set_scale(scale.mean, scale.std)

    def choose_prompts(self, number: int) -> list[int]:
        """Return the prompt numbers of a rollout: every prompt once an epoch, in an order drawn from the seed."""
        n, size = len(self.prompts), self.config.rollout_batch_size
        orders: dict[int, list[int]] = {}
        chosen = []
        for position in range(number * size, (number + 1) * size):
            epoch, place = divmod(position, n)
            if epoch not in orders:
                generator = torch.Generator().manual_seed(self.config.seed + epoch)
                orders[epoch] = torch.randperm(n, generator=generator).tolist()
            chosen.append(orders[epoch][place])
        return chosen

    def split(self, number: int, n_tokens: list[int]) -> list[list[int]]:
        """Return the rows of every minibatch of every pass over a rollout, each pass dealt anew.

        Rows of like length are dealt one to each minibatch, so that all hold about as many tokens: a loss is a mean over
        its minibatch's tokens, and a token of a small minibatch would weigh more. n_tokens: of each completion.
        """
        generator = torch.Generator().manual_seed(self.config.seed + ROLLOUT_SEED_STRIDE * (number + 1))
        minibatches: list[list[int]] = []
        for _ in range(self.config.ppo_epochs):
            shuffled = torch.randperm(len(n_tokens), generator=generator).tolist()
            dealt: list[list[int]] = [[] for _ in range(self.config.num_minibatches)]
            # Sorting keeps the shuffled order of equals; the last hand, which may be short, is of the shortest rows.
            for hand in split_evenly(sorted(shuffled, key=lambda row: -n_tokens[row]), len(dealt)):
                places = torch.randperm(len(dealt), generator=generator).tolist()
                for row, place in zip(hand, places, strict=False):
                    dealt[place].append(row)
            minibatches += dealt
        return minibatches
