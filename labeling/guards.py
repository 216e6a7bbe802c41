"""Rules a CHECK cannot say, as triggers that read the same on SQLite and PostgreSQL.

SQLite drops a trigger with its table, and Django rebuilds a table there to alter it: a migration that alters a guarded
table, or one that a guard looks into, begins with drop_guard and ends with make_guard of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation

Change = Callable[[BaseDatabaseSchemaEditor], None]


class GuardStep(Operation):
    """A migration step of SQL alone. RunPython would build all models anew for each: a fourth of a new installation's
    time to migrate."""

    def __init__(self, words: str, forwards: Change, backwards: Change) -> None:
        self.words = words
        self.forwards = forwards
        self.backwards = backwards

    def describe(self) -> str:
        """Return what `migrate --plan` shows."""
        return self.words

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Leave the models as they are."""

    def database_forwards(
        self, app_label: str, editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self.forwards(editor)

    def database_backwards(
        self, app_label: str, editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self.backwards(editor)


def drop_guard(name: str, table: str, *, again: GuardStep | None = None) -> GuardStep:
    """Return a migration step that takes a guard away until a later step makes it again.

    again is the step that made it, with which the way back ends.
    """

    def drop(editor: BaseDatabaseSchemaEditor) -> None:
        remove(editor, name, table)

    return GuardStep(f"Drop guard {name}", drop, again.forwards if again else lambda editor: None)


def remove(editor: BaseDatabaseSchemaEditor, name: str, table: str) -> None:
    if editor.connection.vendor == "sqlite":
        editor.execute(f"DROP TRIGGER IF EXISTS {name}")
        return
    editor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
    editor.execute(f"DROP FUNCTION IF EXISTS {name}()")


def make_guard(name: str, table: str, event: str, forbidden: str, *, concerns: str = "(TRUE)") -> GuardStep:
    """Return a migration step that makes the database refuse `event` (INSERT or UPDATE) where `forbidden` holds.

    forbidden is SQL over OLD and NEW in the words both databases share; name is what the IntegrityError says. concerns
    is a condition without a query: for rows it leaves out PostgreSQL does not even call the guard, which costs as much
    as an index.
    """

    def create(editor: BaseDatabaseSchemaEditor) -> None:
        if editor.connection.vendor == "sqlite":
            editor.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({concerns} AND {forbidden}) "
                f"BEGIN SELECT RAISE(ABORT, '{name}'); END"
            )
            return
        editor.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN IF {forbidden} THEN "
            f"RAISE EXCEPTION '{name}' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $guard$"
        )
        editor.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {concerns} EXECUTE FUNCTION {name}()"
        )

    def drop(editor: BaseDatabaseSchemaEditor) -> None:
        remove(editor, name, table)

    return GuardStep(f"Make guard {name}", create, drop)
