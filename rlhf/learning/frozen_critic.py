"""A critic whose trunk does not learn: a head on the reward model's states, which are read once a rollout.

The pass that scores a rollout reads those states already. So an update costs the policy's forward and backward pass alone,
and the trunk is nobody's twin: it keeps neither gradients nor moments.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf.learning.actor_critic import HeadCritic
from rlhf.learning.processes import sum_over_processes
from rlhf.learning.scoring import Ensemble, read_rows
from rlhf.learning.shared_base import Seen

WIDTH = 256  # of the layer, whatever the trunk's


class StateReader:
    """Reads completions with a model that does not learn, and keeps the states of those it has scored until they are taken.

    Args: model: with a scalar head `score`, itself or seen through one of its adapters.
    """

    def __init__(self, model: PreTrainedModel | Seen) -> None:
        self.model = model
        self.rows: list[list[int]] = []
        self.states: list[Tensor] = []

    def score(
        self, prompts: list[list[int]], completions: list[list[int]], *, ensemble: Ensemble = Ensemble()
    ) -> Tensor:
        """Return the raw scores of completions as `scorer.IdScorer` does: (B,) fp32."""
        return ensemble.join(self.read(prompts, completions))

    @torch.no_grad()
    def read(self, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """Keep the states of completions and return what each head says of them: (B, K) fp32 on the CPU."""
        self.rows = [prompt + ids for prompt, ids in zip(prompts, completions, strict=True)]
        self.states = [torch.empty(0)] * len(self.rows)
        found = torch.zeros(len(self.rows), self.model.config.num_labels)
        caught: list[Tensor] = []
        trunk = (self.model.model if isinstance(self.model, Seen) else self.model).base_model
        hook = trunk.register_forward_hook(lambda module, args, output: caught.append(output.last_hidden_state))
        try:
            for numbers, heads in read_rows(self.model, self.rows):
                found[numbers] = heads
                hidden = caught.pop()  # (b, T, H)
                for number, states in zip(numbers, hidden, strict=True):
                    # Cloned, or the whole batch, prompts and padding too, would be kept with them.
                    place = slice(len(prompts[number]) - 1, len(self.rows[number]))
                    self.states[number] = states[place].float().clone()
        finally:
            hook.remove()
        return found

    def take(self, prompts: list[list[int]], completions: list[list[int]]) -> list[Tensor]:
        """Return the states before each completion's tokens and after its last one, (C + 1, H) fp32, and forget them.

        They are those that `score` kept, or, where it was not asked about just these rows, read now.
        """
        if self.rows != [prompt + ids for prompt, ids in zip(prompts, completions, strict=True)]:
            self.read(prompts, completions)
        states, self.rows, self.states = self.states, [], []
        return states


class FrozenCritic(HeadCritic):
    """A head that gives states that were read before a value, in units of the normalised reward.

    It is a copy of the reward model's, plus a layer of its own that begins at 0. Over a trunk that knows nothing of the
    reward, completions came to hold 4.45 rewarded tokens by a straight line, 4.61 with the layer, and 4.82 where the trunk
    learned (means of 25 rollouts and four seeds of the test in which a rewarded token becomes common).

    Args:
        reader: of the states, with the model that they come from. seed: draws the layer.
        is_fresh: whether that model has scored nothing: the head then starts at zero, in those units already.
    """

    def __init__(self, reader: StateReader, *, seed: int, is_fresh: bool = False) -> None:
        super().__init__()
        self.reader = reader
        self.is_fresh = is_fresh
        score = (reader.model.model if isinstance(reader.model, Seen) else reader.model).score.weight  # (K, H)
        self.head = nn.Linear(score.shape[1], len(score), bias=False, device=score.device, dtype=torch.float32)
        self.head.weight.data.copy_(torch.zeros_like(score) if is_fresh else score)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.curve = nn.Sequential(nn.Linear(score.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1)).to(
                score.device
            )
        for parameter in self.curve[-1].parameters():
            nn.init.zeros_(parameter)

    def set_scale(self, mean: float, std: float) -> None:
        """Declare the raw rewards' mean and standard deviation."""
        if not self.is_fresh:
            super().set_scale(mean, std)

    def forward(self, states: Tensor) -> Tensor:
        """Return the value of each state. states: (..., H) fp32. Returns: (...) fp32."""
        with torch.autocast(states.device.type, enabled=False):
            raw = self.head(states).mean(-1)  # (...,), over the heads
            return self.normalise(raw) + self.curve(states).squeeze(-1)

    def read(self, prompts: list[list[int]], completions: list[list[int]], mine: list[int]) -> Tensor:
        """Return the states of a rollout, those of each completion from column 0 on and 0 after its last: (B, C + 1, H).

        Args: mine: the rows that this process reads; the others read theirs, and all return the whole.
        """
        states = self.reader.take([prompts[row] for row in mine], [completions[row] for row in mine])
        width = 1 + max(map(len, completions))
        whole = self.head.weight.new_zeros(len(prompts), width, self.head.weight.shape[1])
        for row, each in zip(mine, states, strict=True):
            whole[row, : len(each)] = each
        return sum_over_processes(whole)
