"""The learning half hears of judgments: labeling tells nobody, for it knows of nobody."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import AppConfig
from django.db import transaction

from labeling.signals import judgment_stored


class RLHFConfig(AppConfig):
    name = "rlhf"

    def ready(self) -> None:
        judgment_stored.connect(tell_loop, dispatch_uid="rlhf.tell_loop")


def tell_loop(judgment: Any, **_: Any) -> None:
    """Let the project's loop hear of a new vote once it is committed; whatever goes wrong there, the vote is stored."""
    from rlhf.domain.hearing import hear_judgment  # noqa: PLC0415 -- models are not there yet when this file is imported

    transaction.on_commit(partial(hear_judgment, judgment), robust=True)
