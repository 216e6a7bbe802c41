"""The accelerators of the hosts that learn, and which run has each."""

from __future__ import annotations

from django.db import models

from rlhf.models.runs import Run


class Device(models.Model):
    """One GPU of one host. It is the run's for as long as the attempt that took it works and its lease lasts."""

    host = models.CharField(max_length=253)
    name = models.CharField(max_length=64, help_text="As CUDA_VISIBLE_DEVICES names it.")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, null=True, related_name="devices")
    attempt = models.PositiveIntegerField(default=0, help_text="Of the run, when it took the device.")

    class Meta:
        ordering = ["host", "name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="one_row_per_device")]

    def __str__(self) -> str:
        return f"GPU {self.name} of {self.host}"
