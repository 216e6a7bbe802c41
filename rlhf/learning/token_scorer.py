"""A reward model that weighs words: what it takes while judgments are too few for a trunk to learn from.

    score = bias + sum over the different tokens of the completion of words[token]
            + likelihood . (mean, sum, least log-probability, length, surety)

A token counts once however often it comes: of 300 judgments that says as much (0.751 of fresh pairs right, 0.747 where each
counts; three seeds of the small world, eight draws each), and a policy gains nothing by saying a good word again and again.
The log-probabilities are those of a frozen policy, which knows what is fluent and what is so before anybody has judged.
Surety is how much likelier than was to be expected where they stand tokens were said, summed over those that were: courtesy
may be said in many ways and hides in a sum of log-probabilities what is so, which it can hardly be in this one. With it
0.740 and 0.758 of fresh pairs are right for 0.725 and 0.742, of those that differ in being true 0.69 and 0.72 for 0.62 and
0.66 (two small worlds, twelve draws of 300 judgments each). Each head has weights of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf.contract.errors import ContractError
from rlhf.contract.model_folder import SCORER_FILE
from rlhf.contract.records import Message
from rlhf.learning.logps import CompletionBatch, align_left, completion_logits, sum_rows, token_entropies, token_logps
from rlhf.learning.models import load_policy
from rlhf.learning.tokenization import render_ids

WEIGHTS = "token_scorer.safetensors"
N_BUCKETS = 4096  # token ids share them, so that a large vocabulary needs no more judgments than a small one
FIGURES = ("mean", "sum", "least", "length", "surety")
N_FIGURES = len(FIGURES)
ONCE = "once"  # how often a token counts that comes several times
UNIT = 20.0  # tokens; what sums and lengths are told in, so that all figures are of one size
SURETY_UNIT = 5.0  # nats


class Scores(NamedTuple):
    """As transformers' classifiers answer. logits: (B, K), one for each head."""

    logits: Tensor


class TokenScorer(nn.Module):
    """Scores completions by their words and their likelihood. With its weights at zero it says 0 of everything.

    Args:
        policy: a decoder that stays as it is. n_heads: sets of weights.
        opening: the ids the chat template writes before an answer; behind the last of them the completion begins.
    """

    def __init__(self, policy: PreTrainedModel, *, opening: list[int], n_heads: int) -> None:
        super().__init__()
        self.policy = policy.requires_grad_(False)
        self.policy.config.num_labels = n_heads
        self.opening = opening
        self.words = nn.Parameter(torch.zeros(n_heads, N_BUCKETS))
        self.likelihood = nn.Parameter(torch.zeros(n_heads, N_FIGURES))
        self.bias = nn.Parameter(torch.zeros(n_heads))

    @property
    def config(self) -> Any:
        """The policy's configuration, with num_labels."""
        return self.policy.config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.policy.device

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, *, starts: Tensor | None = None, use_cache: bool = False
    ) -> Scores:
        """Return the scores of rows padded on the right.

        Args: input_ids, attention_mask: (B, T). starts: (B,), where each completion begins, where that is known: what a
            policy writes may look like an opening.
        """
        starts = find_starts(input_ids, self.opening) if starts is None else starts
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        inside = (position >= starts.clamp(min=1)[:, None]) & attention_mask.bool()
        batch = CompletionBatch(input_ids, inside)
        said = self.words.new_zeros(len(input_ids), N_BUCKETS)
        said[inside.nonzero()[:, 0], batch.targets % N_BUCKETS] = 1.0
        figures = measure_likelihood(self.policy, batch)  # (B, N_FIGURES)
        return Scores(said @ self.words.T + figures @ self.likelihood.T + self.bias)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write policy and weights into a folder."""
        self.policy.save_pretrained(folder)
        described = {"opening": self.opening, "counts": ONCE, "figures": FIGURES}
        (Path(folder) / SCORER_FILE).write_text(json.dumps(described), "utf-8")
        own = {name: getattr(self, name).detach().cpu().contiguous() for name in ("words", "likelihood", "bias")}
        save_file(own, Path(folder) / WEIGHTS)


@torch.no_grad()
def measure_likelihood(policy: PreTrainedModel, batch: CompletionBatch) -> Tensor:
    """Return mean, sum and least of each completion's log-probabilities, nats, its length and surety: (B, N_FIGURES) fp32.

    Sum and length are in units of UNIT tokens, surety, the sum of max(0, log p + H), H the entropy of what might have stood
    there (as typical sampling compares them, arXiv 2202.00666), of SURETY_UNIT; an empty completion has zeros.
    """
    lengths = batch.lengths  # (B,)
    if not len(batch.targets):
        return torch.zeros(len(lengths), N_FIGURES, device=lengths.device)
    logits = completion_logits(policy, batch)
    logps = token_logps(logits, batch.targets)  # (N,)
    surety = sum_rows((logps + token_entropies(logits)).clamp(min=0), lengths)  # (B,)
    rows = align_left(logps, lengths)  # (B, C), 0 beyond the end
    total = rows.sum(1)
    figures = [total / lengths.clamp(min=1), total / UNIT, rows.amin(1), lengths / UNIT, surety / SURETY_UNIT]
    return torch.stack(figures, 1)


def find_starts(input_ids: Tensor, opening: list[int]) -> Tensor:
    """Return where the answer of each row begins, behind the last opening; 1 where there is none. Returns: (B,)."""
    n, width = len(opening), input_ids.shape[1]
    if width < n:
        return torch.ones(len(input_ids), dtype=torch.long, device=input_ids.device)
    windows = input_ids.unfold(1, n, 1)  # (B, T - n + 1, n)
    is_opening = (windows == torch.tensor(opening, device=input_ids.device)).all(-1)
    behind = torch.arange(n, width + 1, device=input_ids.device)
    return (is_opening * behind).amax(1).clamp(min=1)


def read_opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that a chat template writes between a question and an answer. Raises: ContractError for none."""
    asked = [Message(role="user", content="a")]
    before = render_ids(tokenizer, asked, add_generation_prompt=False)
    whole = render_ids(tokenizer, [*asked, Message(role="assistant", content="b")], add_generation_prompt=False)
    ready = render_ids(tokenizer, asked, add_generation_prompt=True)
    common = next((n for n, (one, other) in enumerate(zip(ready, whole, strict=False)) if one != other), len(ready))
    opening: list[int] = ready[len(before) : common]
    if not opening or ready[: len(before)] != before:
        raise ContractError("the chat template marks no place where an answer begins: use head=last")
    return opening


def is_token_scorer(folder: str | Path) -> bool:
    """Say whether a model's folder holds a token scorer."""
    return (Path(folder) / SCORER_FILE).exists()


def load_token_scorer(folder: str | Path) -> TokenScorer:
    """Return the scorer of a folder that `save_pretrained` wrote. Raises: ContractError."""
    try:
        described = json.loads((Path(folder) / SCORER_FILE).read_text("utf-8"))
        opening = described["opening"]
        own = load_file(Path(folder) / WEIGHTS)
        require_same(folder, described)
        own["likelihood"] = F.pad(
            own["likelihood"], (0, 0 if "figures" in described else 1)
        )  # none knew surety at first
        scorer = TokenScorer(load_policy(folder), opening=[int(each) for each in opening], n_heads=len(own["bias"]))
        for name in ("words", "likelihood", "bias"):
            getattr(scorer, name).data.copy_(own[name])
    except ContractError:
        raise
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise ContractError(f"{folder} is no whole token scorer: {error}") from error
    return scorer.to(scorer.device)


def require_same(folder: str | Path, described: dict[str, Any]) -> None:
    """Raise ContractError for weights of other counts and figures than those that are made of a completion now."""
    if described.get("counts") != ONCE:
        raise ContractError(f"{folder} was trained when a word counted as often as it came: train it again")
    if described.get("figures", []) not in ([], list(FIGURES)):
        raise ContractError(
            f"{folder} was trained on other figures of likelihood than {', '.join(FIGURES)}: train it again"
        )
