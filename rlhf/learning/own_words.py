"""What a policy says by itself beside its reference: how far apart they are, how varied, how scored, and how much better."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.alarm import DISTINCT, DOUBT, DOUBT_SE, KL, LENGTH, PROXY, SHARE_FINISHED, find_signs_between
from rlhf.contract.best_of_n import best_of_n_means
from rlhf.contract.kinds.evaluate import EvaluateConfig
from rlhf.contract.records import Message, read_rows
from rlhf.learning.experience import SMALLEST_STD
from rlhf.learning.generation import generate
from rlhf.learning.models import find_stop_ids
from rlhf.learning.pair_logps import sequence_logps
from rlhf.learning.preferences import encode_answer
from rlhf.learning.reward_card import require_parity
from rlhf.learning.rollout_metrics import correlation, distinct_2
from rlhf.learning.scorer import find_limit
from rlhf.learning.scoring import load_reward_model, load_scoring_tokenizer, score_heads
from rlhf.learning.tokenization import encode_prompt
from rlhf.learning.watch import normalise_heads, trace_curve

N_RESAMPLES = 1000


@dataclass(frozen=True)
class Drawn:
    """A model's completions, n of each prompt, prompt by prompt: as ids and as texts."""

    messages: list[list[Message]]
    prompts: list[list[int]]
    completions: list[list[int]]
    texts: list[str]
    finished: list[bool]

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([float(len(ids)) for ids in self.completions])


def describe_own_words(
    config: EvaluateConfig,
    pairs: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
) -> dict[str, Any]:
    """Return the figures of completions that policy and reference draw for the prompts of a file of pairs.

    Returns: objective/kl with its 95% interval, rollout/* of the policy and the same under reference/; with a reward
        model also objective/scores, in standard deviations of the reference's, model_win_rate with its interval,
        doubt_win_rate where there are several heads (by the most doubtful of them), and best_of_n, rows of {n, kl,
        score, doubt} of the reference's completions; signs of over-optimization.
    """
    prompts = choose_prompts(pairs, config)
    if not prompts:
        return {}
    drawn = {name: draw(model, prompts, config, tokenizer) for name, model in (("", policy), ("reference/", reference))}
    found: dict[str, Any] = describe_kl(drawn[""], policy, reference, tokenizer.pad_token_id, n=config.n_samples)
    for name, each in drawn.items():
        found |= {f"{name}{key}": value for key, value in describe_texts(each).items()}
    before = {SHARE_FINISHED: found[f"reference/{SHARE_FINISHED}"], DISTINCT: found[f"reference/{DISTINCT}"], KL: 0.0}
    after = {SHARE_FINISHED: found[SHARE_FINISHED], DISTINCT: found[DISTINCT], KL: found[KL]}
    curve = []
    if config.reward_model:
        scored = score_drawn(config, drawn)
        found |= scored.figures
        before, after, curve = before | scored.before, after | scored.after, scored.curve
        found |= {LENGTH: after[LENGTH], f"reference/{LENGTH}": before[LENGTH]}
    signs = find_signs_between(before, after, curve)
    return found | {"signs": [{"name": sign.name, "words": sign.words} for sign in signs]}


def choose_prompts(path: Path, config: EvaluateConfig) -> list[list[Message]]:
    """Return n_prompts different prompts of a file of pairs, drawn by the seed."""
    found = {json.dumps(row["prompt"]): row["prompt"] for row in read_rows(path)}
    chosen = [found[name] for name in sorted(found)]
    random.Random(config.seed).shuffle(chosen)
    return chosen[: config.n_prompts]


def draw(
    model: PreTrainedModel, prompts: list[list[Message]], config: EvaluateConfig, tokenizer: PreTrainedTokenizerBase
) -> Drawn:
    """Return n_samples completions of each prompt."""
    encoded = [encode_prompt(tokenizer, prompt, config.max_prompt_tokens) for prompt in prompts]
    rollouts = generate(
        model,
        encoded,
        n=config.n_samples,
        temperature=config.temperature,
        top_p=1.0,
        max_new_tokens=config.max_new_tokens,
        stop_ids=find_stop_ids(model, tokenizer),
        seed=config.seed,
        batch_size=max(config.batch_size, config.n_samples),
    )
    flat = [each for drawn in rollouts for each in drawn]
    return Drawn(
        messages=[prompt for prompt in prompts for _ in range(config.n_samples)],
        prompts=[ids for ids in encoded for _ in range(config.n_samples)],
        completions=[each.ids for each in flat],
        texts=[tokenizer.decode(each.ids, skip_special_tokens=True).strip() for each in flat],
        finished=[each.finished for each in flat],
    )


def describe_kl(
    drawn: Drawn, policy: PreTrainedModel, reference: PreTrainedModel, pad_id: int, *, n: int
) -> dict[str, float]:
    """Return the KL of policy to reference, nats a completion, over prompts, with its 95% interval.

    It is the mean log-ratio of the policy's own completions, unbiased where they were drawn at temperature 1.
    """
    ours, theirs = (sequence_logps(m, drawn.prompts, drawn.completions, pad_id=pad_id) for m in (policy, reference))
    by_prompt = (ours - theirs).view(-1, n).mean(1)
    half = 1.96 * by_prompt.std().item() / math.sqrt(len(by_prompt)) if len(by_prompt) > 1 else 0.0
    kl = by_prompt.mean().item()
    return {KL: kl, f"{KL}_low": kl - half, f"{KL}_high": kl + half}


def describe_texts(drawn: Drawn) -> dict[str, float]:
    """Return how long, how varied and how often finished completions are."""
    singles = [token for ids in drawn.completions for token in ids]
    triples = [triple for ids in drawn.completions for triple in zip(ids, ids[1:], ids[2:], strict=False)]
    return {
        "rollout/len_mean": drawn.lengths.mean().item(),
        SHARE_FINISHED: sum(drawn.finished) / len(drawn.finished),
        "rollout/distinct_1": len(set(singles)) / max(len(singles), 1),
        DISTINCT: distinct_2(drawn.completions),
        "rollout/distinct_3": len(set(triples)) / len(triples) if triples else 1.0,
    }


@dataclass(frozen=True)
class Scored:
    """What judges say: figures for people, the alarm's rows of reference and policy, and its curve."""

    figures: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    curve: list[Any]


def score_drawn(config: EvaluateConfig, drawn: dict[str, Drawn]) -> Scored:
    """Score both models' completions by the reward model, and by the most doubtful of all heads where there are several."""
    folders = [folder for folder in (config.reward_model, config.heldout_model) if folder]
    judged = [score_texts(folder, list(drawn.values()), seed=config.seed) for folder in folders]  # (2, N, K) each
    n_rewarding = judged[0].shape[-1]
    raw = dict(zip(drawn, torch.cat(judged, -1), strict=True))
    theirs = raw["reference/"]
    scale = torch.stack([theirs.mean(0), theirs.std(0).clamp(min=SMALLEST_STD)], 1)
    heads = {name: normalise_heads(each, scale) for name, each in raw.items()}
    scores = {name: each[:, :n_rewarding].mean(1) for name, each in heads.items()}
    ours, reference = (scores[name].view(-1, config.n_samples).tolist() for name in ("", "reference/"))
    rows = {}
    for name in drawn:
        rows[name] = {LENGTH: correlation(scores[name], drawn[name].lengths)}
        if heads[name].shape[1] > 1:
            doubt = heads[name].amin(1)
            error = doubt.std().item() / math.sqrt(len(doubt))
            rows[name] |= {PROXY: scores[name].mean().item(), DOUBT: doubt.mean().item(), DOUBT_SE: error}
    our_doubts, doubts = (heads[name].amin(1).view(-1, config.n_samples).tolist() for name in ("", "reference/"))
    curve = trace_curve(reference, doubts)
    sizes = [2**power for power in range(len(curve))]
    best = [best_of_n_means(each, each, sizes) for each in reference]
    best_of_n = [
        {"n": n, "kl": point.kl, "score": sum(row[place] for row in best) / len(best), "doubt": point.doubt}
        for place, (n, point) in enumerate(zip(sizes, curve, strict=True))
    ]
    figures = {"objective/scores": scores[""].mean().item(), **compare(ours, reference), "best_of_n": best_of_n}
    if heads[""].shape[1] > 1:
        figures |= compare(our_doubts, doubts, name="doubt_win_rate")
    return Scored(figures, rows["reference/"], rows[""], curve if heads[""].shape[1] > 1 else [])


def score_texts(folder: str, drawn: Sequence[Drawn], *, seed: int) -> Tensor:
    """Return what each head of a reward model says of completions, read as the rows it was trained on: (len(drawn), N, K).

    Raises: ContractError when it no longer scores as when it was trained.
    """
    tokenizer = load_scoring_tokenizer(folder)
    model = load_reward_model(folder, tokenizer, seed=seed).eval()
    require_parity(model, folder)
    max_length = find_limit(folder)
    rows, starts = [], []
    for each in drawn:
        for messages, text, finished in zip(each.messages, each.texts, each.finished, strict=True):
            prompt, ids, _ = encode_answer(tokenizer, messages, text, is_finished=finished, max_length=max_length)
            rows.append(prompt + ids)
            starts.append(len(prompt))
    return score_heads(model, rows, starts=starts).view(len(drawn), -1, model.config.num_labels)


def compare(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    *,
    name: str = "model_win_rate",
    seed: int = 0,
) -> dict[str, float]:
    """Return how often our score is the higher, every completion of a prompt against every one of theirs, by name.

    Ties count half. The interval is a bootstrap over prompts.
    """
    rates = []
    for a, b in zip(ours, theirs, strict=True):
        won = [0.5 if x == y else float(x > y) for x, y in itertools.product(a, b)]
        rates.append(sum(won) / len(won))
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(rates, k=len(rates))) / len(rates) for _ in range(N_RESAMPLES))
    low, high = means[round(0.025 * (N_RESAMPLES - 1))], means[round(0.975 * (N_RESAMPLES - 1))]
    return {name: sum(rates) / len(rates), f"{name}_low": low, f"{name}_high": high}
