"""Reward models of words and likelihood (head=tokens): learned by logistic regression, as fast as pairs can be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlhf.contract.kinds.reward import N_PAIRS, RewardConfig
from rlhf.learning.batching import batch_by_tokens
from rlhf.learning.logps import build_batch
from rlhf.learning.models import choose_attention, load_policy
from rlhf.learning.preferences import EncodedPair
from rlhf.learning.reporting import HandedBack, Reporter
from rlhf.learning.reward_trainer import draw_shares
from rlhf.learning.scoring import SCORING_TOKENS, require_positions, score_heads
from rlhf.learning.token_scorer import N_BUCKETS, N_FIGURES, TokenScorer, measure_likelihood, read_opening
from rlhf.learning.words import PRIOR, fit_weights, mark_tokens

LIKELIHOOD_PRIOR = 0.1  # five weights that every pair speaks of need less of it than those of words


def learn_scorer(
    config: RewardConfig, run_dir: Path, *, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[EncodedPair]
) -> TokenScorer:
    """Return a scorer over base_model that has learned from the first pairs, N_PAIRS at most.

    Several heads learn from several draws of the pairs, as of `SoftRewardTrainer`, and are shifted alike, so that their mean
    is what a head that is alone learns. The mean score of what was learned from is 0.
    Raises: ContractError for a chat template that marks no answers; HandedBack.
    """
    scorer = TokenScorer(load_policy(config.base_model), opening=read_opening(tokenizer), n_heads=config.n_heads)
    scorer = scorer.to(scorer.device)
    shown = list(pairs[:N_PAIRS])
    require_positions(scorer, shown)
    choose_attention(scorer.policy, longest_row=max(pair.n_tokens for pair in shown))
    figures = read_figures(scorer, shown, run_dir, pad_id=tokenizer.pad_token_id)  # (n, 2, N_FIGURES)
    features = torch.cat([mark_tokens(shown), figures[:, 0] - figures[:, 1]], 1)
    prior = torch.cat([torch.full((N_BUCKETS,), PRIOR), torch.full((N_FIGURES,), LIKELIHOOD_PRIOR)])
    target = torch.tensor([pair.target for pair in shown])
    weight = torch.tensor([pair.weight for pair in shown])
    fit = partial(fit_weights, features, prior=prior, target=target)
    whole = fit(weight=weight)  # (F,)
    learned = whole[None]
    if config.n_heads > 1:
        shares = draw_shares(len(shown), config.n_heads, seed=config.seed)  # (n, K)
        learned = center_heads(torch.stack([fit(weight=weight * share) for share in shares.T]), whole)
    words, likelihood = learned.split([N_BUCKETS, N_FIGURES], 1)
    scorer.words.data.copy_(words)
    scorer.likelihood.data.copy_(likelihood)
    rows = [pair.prompt_ids + ids for pair in shown for ids in (pair.chosen_ids, pair.rejected_ids)]
    starts = [len(pair.prompt_ids) for pair in shown for _ in range(2)]
    scorer.bias.data.copy_(-score_heads(scorer, rows, starts=starts).mean(0))
    return scorer


def center_heads(learned: Tensor, whole: Tensor) -> Tensor:
    """Return the heads' weights with their mean at `whole`: each has seen two thirds of the pairs.

    Their mean itself gets 0.010 fewer of fresh pairs right (0.007 to 0.012, 60 to 300 judgments, 32 draws of one small
    world; standard error 0.003), as if a sixth of 300 judgments had never been given. What the heads dispute stays.
    Args: learned: (K, F), from draws of the pairs. whole: (F,), from all of them.
    """
    return learned - learned.mean(0) + whole


def read_figures(scorer: TokenScorer, pairs: Sequence[EncodedPair], run_dir: Path, *, pad_id: int) -> Tensor:
    """Return the likelihood figures of chosen and rejected: (n, 2, N_FIGURES) on the CPU. Raises: HandedBack."""
    prompts = [pair.prompt_ids for pair in pairs for _ in range(2)]
    completions = [ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    lengths = [len(prompt) + len(ids) for prompt, ids in zip(prompts, completions, strict=True)]
    figures = torch.zeros(len(prompts), N_FIGURES)
    reporter = Reporter(run_dir, stage="reading the pairs", total_steps=len(prompts))
    n_done = 0
    for numbers in batch_by_tokens(lengths, SCORING_TOKENS):
        batch = build_batch([prompts[n] for n in numbers], [completions[n] for n in numbers], pad_id=pad_id)
        figures[numbers] = measure_likelihood(scorer.policy, batch.to(scorer.device)).cpu()
        n_done += len(numbers)
        reporter.step(n_done)
        if reporter.stop_requested:
            raise HandedBack(f"stopped after {n_done} of {len(prompts)} completions were read; none were kept")
    return figures.view(len(pairs), 2, N_FIGURES)
