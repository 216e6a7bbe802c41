"""Which step of a Trainer first gave something that is not a number, and from which rows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlhf.learning.processes import any_process, gather_parts
from rlhf.learning.sharding import read_whole
from rlhf.learning.stops import require_finite


class BadStep(NamedTuple):
    """What a process saw of a step that was not finite."""

    step: int
    loss: float
    norm: float
    rows: list[int]


class FiniteSteps:
    """Mixin, named before a Trainer class: losses and gradient norms stay on the device and are read when it logs or saves.

    Trainer itself sees a mean of losses and one gradient norm a log: it could not say which step went wrong.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unread: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a step, which is remembered together with the numbers of its rows."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        self.note_loss(loss, self.find_rows(inputs))
        return loss

    def find_rows(self, inputs: Any) -> Any:
        """Return the numbers of a step's rows, a tensor or a list; None where they have none."""
        return inputs.get("row") if isinstance(inputs, dict) else None

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        self.note_norm(norm)
        return norm

    def note_loss(self, loss: Tensor, rows: Any = None) -> None:
        """Remember the loss of the step under way. rows: the numbers of its rows, a tensor or a list, if they have any."""
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        self._unread.append({"step": step, "loss": loss.detach(), "rows": [] if rows is None else rows})

    def note_norm(self, norm: Any) -> None:
        """Remember the gradient norm of the step whose loss, or losses of micro-batches, were noted last."""
        whole = read_whole(torch.as_tensor(norm).detach())
        for each in self._unread:
            if each["step"] == self._unread[-1]["step"]:
                each["norm"] = whole

    def require_finite_steps(self) -> None:
        """Read what was remembered in one transfer. Raises: NonFiniteError, naming the first bad step and its rows.

        Of several processes all raise it together. A gradient that is not finite is so in each of them: the rows named
        are those of the processes whose own loss is not, and of all where every loss is finite.
        """
        noted, self._unread = self._unread, []
        if not noted:
            return
        values = torch.stack([torch.stack([each["loss"], each.get("norm", each["loss"])]).float() for each in noted])
        bad = [
            BadStep(each["step"], loss, norm, list_rows(each["rows"]))
            for each, (loss, norm) in zip(noted, values.tolist(), strict=True)
            if not (math.isfinite(loss) and math.isfinite(norm))
        ]
        if any_process(bool(bad)):
            seen = [each for part in gather_parts(bad) for each in part]
            first = [each for each in seen if each.step == min(other.step for other in seen)]
            named = [each for each in first if not math.isfinite(each.loss)] or first
            rows = [row for each in named for row in each.rows]
            require_finite(named[0].step, {"loss": named[0].loss, "grad_norm": named[0].norm}, rows=rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless a step since the last time was not finite."""
        self.require_finite_steps()
        super().log(logs, start_time)  # type: ignore[misc]


def list_rows(rows: Any) -> list[int]:
    """Return the numbers of a step's rows, a tensor or a list, as a list."""
    return rows.tolist() if isinstance(rows, Tensor) else list(rows)
