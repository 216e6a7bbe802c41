"""Batches that several processes share out to the row, so that a run's steps do not depend on how many there are."""

from __future__ import annotations

from typing import Any

from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from rlhf.learning.processes import process_count


class SharedBatches:
    """Mixin, named before a Trainer class: every process draws each whole batch, and its collator takes its share of it.

    accelerate would cut a batch into equal parts, and fill the last one of an epoch with rows of the first.
    """

    @property
    def rows_per_step(self) -> int:
        """Rows of the table that a step learns from, those of all processes together."""
        return int(self._train_batch_size) * process_count()  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> Any:
        """Return the batches of an epoch, the same ones in every process."""
        if process_count() == 1:
            return super().get_train_dataloader()  # type: ignore[misc]
        loader = DataLoader(
            self.train_dataset,  # type: ignore[attr-defined]
            batch_size=self.rows_per_step,
            sampler=self._get_train_sampler(),  # type: ignore[attr-defined]
            collate_fn=self.data_collator,  # type: ignore[attr-defined]
            pin_memory=self.args.dataloader_pin_memory,  # type: ignore[attr-defined]
        )
        device = self.accelerator.device  # type: ignore[attr-defined]
        return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)
