"""The learning half hears of judgments: labeling tells nobody, for it knows of nobody."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_save


class RLHFConfig(AppConfig):
    name = "rlhf"

    def ready(self) -> None:
        post_save.connect(tell_loop, sender="labeling.Judgment", dispatch_uid="rlhf.tell_loop")


def tell_loop(instance: Any, created: bool, **_: Any) -> None:
    """Let the project's loop hear of a new vote once it is committed; whatever goes wrong there, the vote is stored."""
    from rlhf.domain.loop import hear_judgment  # noqa: PLC0415 -- models are not there yet when this file is imported

    if created and instance.revises_id is None:
        transaction.on_commit(partial(hear_judgment, instance), robust=True)
