"""Judges that look on while a policy learns and reward nothing: what the alarm of over-optimization is fed with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rlhf.contract.alarm import DOUBT, DOUBT_SE, KL, PROXY, Point, describe_alarm, find_signs
from rlhf.contract.best_of_n import best_of_n_kl, best_of_n_means
from rlhf.contract.errors import ContractError
from rlhf.contract.kinds.ppo import PPOConfig
from rlhf.contract.run_dir import append_alarm, read_alarms, write_atomic
from rlhf.learning.actor_critic import ActorCritic
from rlhf.learning.experience import SMALLEST_STD, Experience
from rlhf.learning.generation import Decoding
from rlhf.learning.processes import is_first_process, wait_for_all
from rlhf.learning.reward_card import require_parity
from rlhf.learning.rewards import Reward
from rlhf.learning.rollouts import RolloutSource
from rlhf.learning.scorer import IdScorer, reads_same_tokens
from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer, score_heads

WATCH = "watch.json"
# Another stream of draws than any rollout's: rollouts begin at one stride over the seed.
SEED_OFFSET = 500_009


class Watch:
    """Scores rollouts by every head of every judge, each in standard deviations of its scores of the reference.

    Args:
        judges: the reward model first; the others are held out. n_rewarding: heads of the first.
        scale: mean and std of each head over the reference's completions, (K, 2).
        curve: what the most doubtful head says of the best of n of them by the rewarding heads.
        scores: what rewards by the reward model, whose heads then read no rollout twice.
    """

    def __init__(
        self,
        judges: Sequence[nn.Module],
        *,
        n_rewarding: int,
        scale: Tensor,
        curve: list[Point],
        scores: Reward | None = None,
    ) -> None:
        self.judges = judges
        self.n_rewarding = n_rewarding
        self.scale = scale
        self.curve = curve
        self.scores = scores

    def look(self, experience: Experience) -> dict[str, float]:
        """Return alarm/proxy, alarm/doubt and alarm/doubt_se of a rollout."""
        rows = [prompt + ids for prompt, ids in zip(experience.prompts, experience.completions, strict=True)]
        starts = [len(prompt) for prompt in experience.prompts]
        said = self.scores.recall(rows) if isinstance(self.scores, IdScorer) else None
        if said is None:
            raw = score_all(self.judges, rows, starts=starts)  # (B, K)
        else:
            raw = torch.cat([said, *(score_heads(judge, rows, starts=starts) for judge in self.judges[1:])], 1)
        heads = normalise_heads(raw, self.scale)
        doubt = heads.amin(1)
        return {
            PROXY: heads[:, : self.n_rewarding].mean().item(),
            DOUBT: doubt.mean().item(),
            DOUBT_SE: doubt.std().item() / math.sqrt(len(rows)),
        }


def prepare_watch(
    config: PPOConfig,
    run_dir: Path,
    *,
    models: ActorCritic,
    source: RolloutSource,
    reward_model: nn.Module,
    scores: Reward,
    tokenizer: PreTrainedTokenizerBase,
) -> Watch | None:
    """Return the watch of a run whose policy has not learned yet; None where a single head has nobody to doubt it.

    What it measures of the reference is kept in the run directory: a resumed run goes on with the same.

    Raises: ContractError when the held-out model does not score as it did when it was trained, or reads other tokens.
    """
    if config.alarm == "off":
        return None
    judges: list[nn.Module] = [reward_model]
    if config.heldout_model:
        if not reads_same_tokens(tokenizer, load_scoring_tokenizer(config.heldout_model)):
            raise ContractError(
                "heldout_model has another tokenizer or chat template than the policy: name one without"
            )
        held_out = load_reward_model(config.heldout_model, tokenizer, seed=config.seed).eval()
        require_parity(held_out, config.heldout_model)
        judges.append(held_out)
    n_heads = [judge.config.num_labels for judge in judges]
    if sum(n_heads) < 2:
        return None
    path = run_dir / WATCH
    if not path.exists():
        measured = measure_reference(config, judges, n_rewarding=n_heads[0], models=models, source=source)
        if is_first_process():
            write_atomic(path, json.dumps(measured))
        wait_for_all()
    known = json.loads(path.read_text("utf-8"))
    curve = [Point(**point) for point in known["curve"]]
    return Watch(judges, n_rewarding=n_heads[0], scale=torch.tensor(known["scale"]), curve=curve, scores=scores)


def measure_reference(
    config: PPOConfig, judges: Sequence[nn.Module], *, n_rewarding: int, models: ActorCritic, source: RolloutSource
) -> dict[str, Any]:
    """Return the scale of every head and the best-of-n curve, from completions of the policy before it learned."""
    prompts = source.prompts[: config.alarm_prompts]
    drawn = source.backend(
        models.policy,
        prompts,
        Decoding(config.temperature, 1.0, config.max_new_tokens, source.stop_ids),
        n=config.alarm_samples,
        seed=config.seed + SEED_OFFSET,
        only=range(len(prompts)),
    )
    rows = [prompt + rollout.ids for prompt, each in zip(prompts, drawn, strict=True) for rollout in each]
    starts = [len(prompt) for prompt, each in zip(prompts, drawn, strict=True) for _ in each]
    heads = score_all(judges, rows, starts=starts)  # (N, K)
    scale = torch.stack([heads.mean(0), heads.std(0).clamp(min=SMALLEST_STD)], 1)  # (K, 2)
    normed = normalise_heads(heads, scale).view(len(prompts), config.alarm_samples, -1)
    curve = trace_curve(normed[..., :n_rewarding].mean(-1).tolist(), normed.amin(-1).tolist())
    return {"scale": scale.tolist(), "curve": [asdict(point) for point in curve]}


def trace_curve(scores: list[list[float]], doubts: list[list[float]]) -> list[Point]:
    """Return what doubt says of the best of 1, 2, 4 .. by score, over prompts. scores, doubts: of each prompt's N."""
    sizes = [2**power for power in range(len(scores[0]).bit_length())]
    rows = [best_of_n_means(score, doubt, sizes) for score, doubt in zip(scores, doubts, strict=True)]
    means = [sum(row[place] for row in rows) / len(rows) for place in range(len(sizes))]
    return [Point(best_of_n_kl(n), mean) for n, mean in zip(sizes, means, strict=True)]


def score_all(judges: Sequence[nn.Module], rows: list[list[int]], *, starts: Sequence[int]) -> Tensor:
    """Return the raw scores of rows by every head of every judge: (N, K). starts: where the completions begin."""
    return torch.cat([score_heads(judge, rows, starts=starts) for judge in judges], 1)


def normalise_heads(heads: Tensor, scale: Tensor) -> Tensor:
    """Return scores in standard deviations of each head. heads: (N, K), scale: (K, 2)."""
    return (heads - scale[:, 0]) / scale[:, 1]


def tell_alarm(run_dir: Path, logged: Sequence[Mapping[str, float]], *, curve: Sequence[Point] = ()) -> bool:
    """Write down the signs not told yet, once there are two together, and return whether there are.

    Args: logged: all that the run has logged, the first first; of it the rollouts count.
    """
    history = [values for values in logged if KL in values]
    signs = find_signs(history, curve=curve)
    if not describe_alarm(signs):
        return False
    told = {alarm["name"] for alarm in read_alarms(run_dir)}
    for sign in signs:
        if sign.name not in told:
            append_alarm(run_dir, int(history[-1].get("step", len(history))), sign.name, sign.words)
    return True
