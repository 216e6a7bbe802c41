"""Which step of a Trainer first gave something that is not a number, and from which rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlhf.learning.sharding import read_whole
from rlhf.learning.stops import require_finite


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
        """Remember the gradient norm of the step whose loss was noted last."""
        self._unread[-1]["norm"] = read_whole(torch.as_tensor(norm).detach())

    def require_finite_steps(self) -> None:
        """Read what was remembered in one transfer. Raises: NonFiniteError, naming the first bad step and its rows."""
        noted, self._unread = self._unread, []
        if not noted:
            return
        losses = torch.stack([torch.stack([each["loss"], each.get("norm", each["loss"])]).float() for each in noted])
        for each, (loss, norm) in zip(noted, losses.tolist(), strict=True):
            rows = each["rows"].tolist() if isinstance(each["rows"], Tensor) else each["rows"]
            require_finite(each["step"], {"loss": loss, "grad_norm": norm}, rows=rows)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless a step since the last time was not finite."""
        self.require_finite_steps()
        super().log(logs, start_time)  # type: ignore[misc]
