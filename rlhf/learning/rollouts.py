"""Where PPO's rollouts come from: prompts in a seeded order, completions of the policy, their scores."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.advantages import steer_kl_coef
from rlhf.learning.batching import split_evenly
from rlhf.learning.experience import Experience, ScoreScale, build_experience, measure_scale
from rlhf.learning.generation import Rollout, generate
from rlhf.learning.rewards import Reward
from rlhf.learning.rollout_metrics import describe_rollout

# Far apart, so that no two rollouts of one run and no two neighbouring seeds draw the same numbers.
ROLLOUT_SEED_STRIDE = 1_000_003


class RolloutSource:
    """Draws a run's rollouts. The n-th depends on the seed, on n and on the models alone.

    Args:
        prompts: token ids of the prompts, generation prompt included.
        reference: the frozen policy of the KL penalty.
        rewards: what a completion's raw score is the sum of, by name.
        stop_ids: token ids that end a completion.
    """

    def __init__(
        self,
        config: PPOConfig,
        *,
        prompts: list[list[int]],
        reference: PreTrainedModel,
        rewards: dict[str, Reward],
        stop_ids: list[int],
        pad_id: int,
    ) -> None:
        self.config = config
        self.prompts = prompts
        self.reference = reference.requires_grad_(False)
        self.reference.train(False)
        self.rewards = rewards
        self.stop_ids = stop_ids
        self.pad_id = pad_id
        self.scale: ScoreScale | None = None
        self.kl_coef = config.kl_coef

    def draw(self, number: int, models: ActorCritic) -> tuple[Experience, dict[str, float]]:
        """Return the rollout of a number, counted from 0, and its metrics."""
        started_s = time.monotonic()
        prompts = [self.prompts[row] for row in self.choose_prompts(number)]
        completions = self.sample(prompts, number, models)
        generated_s = time.monotonic()
        parts = self.score(prompts, completions)
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
        )
        metrics = {
            **describe_rollout(experience),
            **{f"rewards/{name}/mean": part.mean().item() for name, part in parts.items()},
            "episode": float((number + 1) * self.config.rollout_batch_size),
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
                n_completions=self.config.rollout_batch_size,
                horizon=self.config.kl_horizon,
            )

    def score(self, prompts: list[list[int]], completions: list[Rollout]) -> dict[str, Tensor]:
        """Return the weighted rewards of completions by name: (B,) each."""
        ids = [completion.ids for completion in completions]
        return {name: reward(prompts, ids) for name, reward in self.rewards.items()}

    def sample(self, prompts: list[list[int]], number: int, models: ActorCritic) -> list[Rollout]:
        """Return one completion of each prompt."""
        rollouts = generate(
            models.policy,
            prompts,
            n=1,
            temperature=self.config.temperature,
            top_p=1.0,
            max_new_tokens=self.config.max_new_tokens,
            stop_ids=self.stop_ids,
            seed=self.config.seed + ROLLOUT_SEED_STRIDE * (number + 1),
            batch_size=self.config.rollout_batch_size,
        )
        return [each[0] for each in rollouts]

    def fix_scale(self, raw_scores: Tensor, models: ActorCritic) -> ScoreScale:
        """Take the scale of scores from the first rollout: nothing is learned yet, so it is the reference's."""
        self.restore_scale(measure_scale(raw_scores), models)
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
