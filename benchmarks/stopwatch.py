"""When each step of a training ended, and what its phases took."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import torch
from transformers import TrainerCallback

PHASES = ("blocks", "head_and_backward", "optimizer", "between")


class Watch(TrainerCallback):
    """Notes when each step ended, and each logged loss.

    Args: asks_phases: whether the blocks' forward passes, then head, loss and backward pass, the optimizer, and what lies
        between steps are measured too; on a GPU each is waited for, which makes a step slower.
    """

    def __init__(self, *, asks_phases: bool = False) -> None:
        self.began_s = time.perf_counter()
        self.ended: list[tuple[float, float]] = []  # seconds of the wall and of the processor
        self.losses: list[float] = []
        self.asks_phases = asks_phases
        self.phases: dict[str, list[float]] = {name: [] for name in PHASES}
        self.forget_marks()

    def forget_marks(self) -> None:
        """A step begins."""
        self.first_s = self.forward_s = self.optimizing_s = self.optimized_s = 0.0

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        if optimizer is not None:
            self.follow(model, getattr(optimizer, "optimizer", optimizer))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.note_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def follow(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Measure the phases of this model and this optimizer, if they are asked for."""
        if not self.asks_phases:
            return
        trunk = model.base_model  # some losses reach past the whole model
        trunk.register_forward_pre_hook(lambda *_: self.enter_forward())
        trunk.register_forward_hook(lambda *_: self.leave_forward())
        optimizer.register_step_pre_hook(lambda *_: self.enter_optimizer())
        optimizer.register_step_post_hook(lambda *_: self.leave_optimizer())

    def enter_forward(self) -> None:
        """A forward pass begins, the first of a step or one more."""
        self.entered_s = read_clock()
        self.first_s = self.first_s or self.entered_s

    def leave_forward(self) -> None:
        """A forward pass is over."""
        self.forward_s += read_clock() - self.entered_s

    def enter_optimizer(self) -> None:
        """Gradients are there."""
        self.optimizing_s = read_clock()

    def leave_optimizer(self) -> None:
        """Weights have moved."""
        self.optimized_s = read_clock()

    def note_step(self) -> None:
        """A step ends now."""
        now_s = read_clock()
        if self.asks_phases and self.first_s and self.optimized_s and self.ended:
            self.phases["blocks"].append(self.forward_s)
            self.phases["head_and_backward"].append(self.optimizing_s - self.first_s - self.forward_s)
            self.phases["optimizer"].append(self.optimized_s - self.optimizing_s)
            self.phases["between"].append(self.first_s - self.ended[-1][0] + now_s - self.optimized_s)
        self.forget_marks()
        self.ended.append((now_s, time.process_time()))

    @property
    def steps_s(self) -> list[tuple[float, float]]:
        """Seconds of every step but the first two, which warm up, by both clocks."""
        return [(later[0] - sooner[0], later[1] - sooner[1]) for sooner, later in itertools.pairwise(self.ended[1:])]

    @property
    def phases_s(self) -> dict[str, float]:
        """Median seconds of each phase, the first two steps left out."""
        return {name: statistics.median(found[1:]) for name, found in self.phases.items() if found[1:]}


def read_clock() -> float:
    """Return the seconds of the wall, once a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
