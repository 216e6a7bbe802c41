"""Drawing completions from a causal language model, many at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from rlhf.contract.errors import ContractError
from rlhf.learning.roomy_cache import give_room

# A batch is made smaller when this share of its rows has finished: sooner copies the cache too often.
IDLE_SHARE = 0.25


@dataclass(frozen=True)
class Rollout:
    """One completion.

    ids: without the prompt, the stop token included. finished: it ended with a stop token. logps: of each token as it was
    drawn, nats; empty where the backend tells none.
    """

    ids: list[int]
    finished: bool
    logps: list[float] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn. temperature: 0 is greedy. stop_ids: any of them ends a completion."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop_ids: list[int]


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    *,
    n: int,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    stop_ids: list[int],
    seed: int,
    batch_size: int,
    only: Sequence[int] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[list[Rollout]]:
    """Return `n` completions of each prompt.

    Prompts of like length are batched, padded on the left and read once for all their completions; finished rows leave
    the batch. What is drawn is a function of the seed, of the prompt's place and of the model: rows that are drawn
    together, padding and batch size change it by rounding alone.

    Args:
        prompts: token ids, each at least one.
        only: numbers of the prompts to complete. Several processes that share the prompts draw together what one would.
        on_batch: called after every batch with the number of completions drawn in it.
    Returns: by prompt, those of `only` in its order.
    Raises: ContractError when a completion could outgrow the model's positions.
    """
    check_positions(model, prompts, max_new_tokens)
    decoding = Decoding(temperature, top_p, max_new_tokens, stop_ids)
    wanted = list(range(len(prompts))) if only is None else list(only)
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(len(prompts), n, max_new_tokens, generator=generator).to(model.device)
    was_training = model.training
    model.eval()
    rollouts: dict[int, list[Rollout]] = {index: [] for index in wanted}
    for indices, n_each in plan_batches(prompts, wanted, n=n, batch_size=batch_size):
        first = len(rollouts[indices[0]])
        chances = uniforms[indices, first : first + n_each].flatten(0, 1)  # (B, max_new_tokens)
        drawn = generate_batch(model, [prompts[index] for index in indices], n_each, decoding, chances)
        for number, rollout in enumerate(drawn):
            rollouts[indices[number // n_each]].append(rollout)
        if on_batch is not None:
            on_batch(len(drawn))
    model.train(was_training)
    return [rollouts[index] for index in wanted]


def plan_batches(
    prompts: list[list[int]], wanted: list[int], *, n: int, batch_size: int
) -> Iterator[tuple[list[int], int]]:
    """Yield batches of at most batch_size rows: prompt indices, longest prompts first, and completions of each."""
    order = sorted(wanted, key=lambda index: -len(prompts[index]))
    n_left = n
    while n_left > 0:
        n_each = min(n_left, batch_size)
        n_prompts = batch_size // n_each
        for start in range(0, len(order), n_prompts):
            yield order[start : start + n_prompts], n_each
        n_left -= n_each


def generate_batch(
    model: PreTrainedModel, prompts: list[list[int]], n_each: int, decoding: Decoding, uniforms: Tensor
) -> list[Rollout]:
    """Return n_each completions of each prompt, prompt by prompt. uniforms: (B, max_new_tokens), in [0, 1)."""
    input_ids, mask = pad_left(prompts, model.device)  # (P, T)
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (P, T)
    known = {"position_ids": positions} if takes_positions else {}
    output = model(input_ids=input_ids, attention_mask=mask, use_cache=True, logits_to_keep=1, **known)
    cache: Cache = output.past_key_values
    if n_each > 1:
        cache.batch_repeat_interleave(n_each)
    give_room(cache, decoding.max_new_tokens - 1)
    mask = mask.repeat_interleave(n_each, 0)  # (B, T), B = P * n_each
    position = positions[:, -1].repeat_interleave(n_each)  # (B,)
    logits = output.logits[:, -1].repeat_interleave(n_each, 0)  # (B, V)

    stops = torch.tensor(decoding.stop_ids, device=model.device)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []  # each step's rows, their tokens and these tokens' logps
    rows = torch.arange(len(mask), device=model.device)
    active = torch.ones_like(rows, dtype=torch.bool)
    for step in range(decoding.max_new_tokens):
        tokens, logps = draw_tokens(logits, decoding, uniforms[rows, step])  # (B,) each
        columns.append((rows[active], tokens[active], logps[active]))
        active &= ~torch.isin(tokens, stops)
        n_active = int(active.sum())
        if n_active == 0 or step + 1 == decoding.max_new_tokens:
            break
        if n_active <= (1 - IDLE_SHARE) * len(rows):
            kept = active.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            tokens, rows, mask, position, active = tokens[kept], rows[kept], mask[kept], position[kept], active[kept]
        position = position + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        known = {"position_ids": position[:, None]} if takes_positions else {}
        output = model(input_ids=tokens[:, None], attention_mask=mask, past_key_values=cache, use_cache=True, **known)
        logits = output.logits[:, -1]
    return collect_rollouts(columns, len(prompts) * n_each, decoding.stop_ids)


def draw_tokens(logits: Tensor, decoding: Decoding, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Return one token a row and its log-probability, nats, by inverting the distribution function.

    One number decides a row's token: less to draw than noise for every token of the vocabulary, and nothing that depends
    on the rows beside it.

    Args: logits: (B, V). uniforms: (B,), in [0, 1).
    Returns: (B,) each; log-probabilities of greedy tokens are those at temperature 1.
    """
    if decoding.temperature == 0:
        best, tokens = logits.float().log_softmax(-1).max(-1)
        return tokens, best
    probabilities = (logits.float() / decoding.temperature).softmax(-1)
    if decoding.top_p < 1:
        probabilities = keep_nucleus(probabilities, decoding.top_p)
    below = probabilities.cumsum(-1)  # (B, V)
    total = below[:, -1:]
    tokens = torch.searchsorted(below, uniforms[:, None] * total, right=True).clamp(max=logits.shape[-1] - 1)
    return tokens.squeeze(1), (probabilities.gather(1, tokens) / total).log().squeeze(1)


def keep_nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Return the probabilities, 0 outside the smallest set of likeliest tokens whose sum reaches top_p. (B, V)."""
    ranked, order = probabilities.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    return torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(before >= top_p, 0.0))


def collect_rollouts(columns: list[tuple[Tensor, Tensor, Tensor]], n_rows: int, stop_ids: list[int]) -> list[Rollout]:
    """Return the completions from each step's rows, tokens and log-probabilities."""
    ids: list[list[int]] = [[] for _ in range(n_rows)]
    logps: list[list[float]] = [[] for _ in range(n_rows)]
    for column in columns:
        for row, token, logp in zip(*(part.tolist() for part in column), strict=True):
            ids[row].append(token)
            logps[row].append(logp)
    return [Rollout(row, row[-1] in stop_ids, drawn) for row, drawn in zip(ids, logps, strict=True)]


def pad_left(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the prompts padded on the left and the mask of their real tokens: (P, T) ids and (P, T) of 0 and 1."""
    width = max(len(prompt) for prompt in prompts)
    # Which token fills does not matter: the mask hides it and position_ids do not count it.
    ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def check_positions(model: PreTrainedModel, prompts: list[list[int]], max_new_tokens: int) -> None:
    """Refuse what the model has no positions for. Raises: ContractError."""
    room = getattr(model.config, "max_position_embeddings", None)
    longest = max((len(prompt) for prompt in prompts), default=0)
    if room is not None and longest + max_new_tokens > room:
        raise ContractError(
            f"a prompt of {longest} tokens and a completion of {max_new_tokens} exceed the model's {room} positions; "
            "lower max_prompt_tokens or max_new_tokens"
        )
