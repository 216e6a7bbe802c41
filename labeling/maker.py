"""Models out of the rows of a statement that was compiled once: as Django makes them, with less asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init


class Maker:
    """Makes a model out of its part of a row, and what is related to it out of the rest, as Django does.

    A vote makes fifteen. Where nobody listens to it, and the model does not mind, its fields are not asked one by one.
    """

    def __init__(self, info: dict[str, Any], select: Sequence[Any]) -> None:
        self.model: type[Model] = info["model"]
        columns = info["select_fields"]
        self.part = slice(columns[0], columns[-1] + 1)
        self.names = [column.target.attname for column, *_ in select[self.part]]
        self.key = self.names.index(self.model._meta.pk.attname)
        related = info.get("related_klass_infos", [])
        self.related = [(Maker(other, select), other["local_setter"], other["remote_setter"]) for other in related]
        is_heard = pre_init.has_listeners(self.model) or post_init.has_listeners(self.model)
        is_plain = (self.model.__init__, self.model.from_db.__func__) == (Model.__init__, Model.from_db.__func__)  # type: ignore[attr-defined]
        self.is_quick = is_plain and not is_heard

    def make(self, row: Sequence[Any], alias: str) -> Any:
        """Return the model, None where there is none."""
        values = row[self.part]
        if values[self.key] is None:
            return None
        made = self.make_quickly(values, alias) if self.is_quick else self.model.from_db(alias, self.names, values)
        for maker, set_here, set_there in self.related:
            other = maker.make(row, alias)
            set_here(made, other)
            if other is not None:
                set_there(other, made)
        return made

    def make_quickly(self, values: Sequence[Any], alias: str) -> Model:
        made = self.model.__new__(self.model)
        state = ModelState()
        state.adding, state.db = False, alias
        vars(made).update(zip(self.names, values, strict=True), _state=state)
        return made
