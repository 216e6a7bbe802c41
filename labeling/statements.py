"""Statements of the hot path: a queryset compiled once, and run with other values ever after.

To build and compile what one vote asks took Django ten times as long as the databases took to answer. The queryset
stays the only place where a condition is written: a function returns it, its positional parameters stand for values
that differ from call to call, its keyword parameters for parts of the statement. All else becomes text: PostgreSQL uses
a partial index in a prepared plan, and SQLite a prepared statement at all, only where they see the constant.

    @compiled
    def list_held(labeler: Any, project: Any) -> QuerySet[Slot]:
        return Slot.objects.held_by(labeler).filter(project=project)

    list_held(labeler.pk, project.pk)  # a list of slots

PostgreSQL prepares them on the server: see prepared.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import update_wrapper, wraps
from inspect import Parameter, signature
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Model, QuerySet
from django.db.models.sql import InsertQuery, UpdateQuery

from labeling.maker import Maker
from labeling.prepared import Rows, run_later, run_prepared, settle

P = ParamSpec("P")
Row = TypeVar("Row", bound=Model)
_compiled: dict[tuple[Any, ...], Any] = {}  # by database, function and shape
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Given(Expression):
    """Stands in a queryset for a value, or for the row with that key, which is known only when it is run."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position

    @property
    def pk(self) -> Given:
        return self

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Given]]:
        return "%s", [self]


class Change(NamedTuple):
    """An UPDATE: which rows, and what of them."""

    rows: QuerySet[Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """The text of a statement, and which of the values given goes where in it."""

    sql: str
    places: tuple[int, ...]

    def run(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> tuple[Rows, int]:
        """Return the rows, and how many rows were met; where statements are logged, Django runs them and shows them whole."""
        given = [values[place] for place in self.places]
        if is_prepared(connection):
            with connection.wrap_database_errors:
                return run_prepared(connection.connection, self.sql, given)
        with connection.cursor() as cursor:
            cursor.execute(self.sql, adapt(given, connection))
            return cursor.fetchall() if cursor.description else [], cursor.rowcount

    def run_later(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> Later:
        """Let a change go with the next statement of the transaction, where there are trips to spare."""
        later = Later(connection)
        if connection.in_atomic_block and is_prepared(connection):
            with connection.wrap_database_errors:
                run_later(connection.connection, self.sql, [values[place] for place in self.places], later.hear)
        else:
            later.hear(self.run(connection, values)[1])
        return later


def is_prepared(connection: BaseDatabaseWrapper) -> bool:
    """Say whether a statement goes through libpq alone, and see that it can."""
    if connection.vendor != "postgresql" or connection.queries_logged or connection.execute_wrappers:
        return False
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    return True


@dataclass
class Later:
    """What comes of a change that goes with the next statement."""

    connection: BaseDatabaseWrapper
    heard: int | None = None

    def hear(self, n_met: int) -> None:
        self.heard = n_met

    @property
    def n_met(self) -> int:
        """How many rows the change met; it is sent now if nothing was sent since."""
        if self.heard is None:
            with self.connection.wrap_database_errors:
                settle(self.connection.connection)
        assert self.heard is not None, "the transaction of this change was taken back"
        return self.heard


@dataclass(frozen=True)
class Read(Statement):
    """A statement that returns rows, and how Django makes models of them."""

    compiler: Any
    converters: dict[int, Any]
    maker: Maker

    def fetch(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> Iterator[Any]:
        rows, _ = self.run(connection, values)
        for row in self.compiler.apply_converters(rows, self.converters) if self.converters else rows:
            made = self.maker.make(row, connection.alias)
            for name, column in self.compiler.annotation_col_map.items():
                setattr(made, name, row[column])
            yield made


def compiled(make: Callable[P, QuerySet[Row]]) -> Callable[P, list[Row]]:
    """Make a function that returns a queryset one that takes its values and returns its rows."""

    @wraps(make)
    def read(*values: P.args, **shape: P.kwargs) -> list[Row]:
        connection = connections["default"]
        return list(find_compiled(connection, make, shape, compile_read).fetch(connection, values))

    return read


class CompiledChange(Generic[P]):
    """A function that returned a change: it takes its values, makes it, and returns how many rows it met."""

    def __init__(self, make: Callable[P, Change]) -> None:
        self.make = make
        update_wrapper(self, make)

    def __call__(self, *values: P.args, **shape: P.kwargs) -> int:
        connection = connections["default"]
        _, n_met = find_compiled(connection, self.make, shape, compile_change).run(connection, values)
        return int(n_met)

    def later(self, *values: P.args, **shape: P.kwargs) -> Later:
        """Make the change with the statement that comes next in this transaction, or at its end."""
        connection = connections["default"]
        return cast(Later, find_compiled(connection, self.make, shape, compile_change).run_later(connection, values))


def compiled_change(make: Callable[P, Change]) -> CompiledChange[P]:
    """Make a function that returns a change one that makes it."""
    return CompiledChange(make)


def insert(row: Model) -> None:
    """Store a new row whose key the database makes, as save() does where nobody listens to signals."""
    connection = connections["default"]
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    values = [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields]
    statement = find_compiled(connection, type(row), {}, compile_insert)
    (((row.pk,),), _) = statement.run(connection, values)
    row._state.adding, row._state.db = False, connection.alias


def find_compiled(
    connection: BaseDatabaseWrapper, make: Callable[..., Any], shape: dict[str, Any], compile_anew: Callable[..., Any]
) -> Any:
    """Return the statement of a function in this shape, compiled once for all threads: to compile those of a vote takes
    a thread that is new a second where others compute too, and they come when most is to do."""
    key = (connection.vendor, make, *shape.items())
    if key not in _compiled:
        _compiled[key] = compile_anew(connection, make, shape)
    return _compiled[key]


def forget_compiled() -> None:
    """Compile all anew, as where it has changed who listens to a model."""
    _compiled.clear()


def compile_read(connection: BaseDatabaseWrapper, make: Callable[..., QuerySet[Any]], shape: dict[str, Any]) -> Read:
    compiler = make(*list_givens(make), **shape).query.get_compiler(connection=connection)
    sql, places = read_places(connection, *compiler.as_sql())
    selected = [row[0] for row in compiler.select[: compiler.col_count]]
    maker = Maker(compiler.klass_info, compiler.select)
    return Read(sql, places, compiler, compiler.get_converters(selected), maker)


def compile_change(connection: BaseDatabaseWrapper, make: Callable[..., Change], shape: dict[str, Any]) -> Statement:
    rows, values = make(*list_givens(make), **shape)
    query = rows.query.chain(UpdateQuery)
    query.add_update_values(values)
    return Statement(*read_places(connection, *query.get_compiler(connection=connection).as_sql()))


def compile_insert(connection: BaseDatabaseWrapper, model: type[Model], _shape: dict[str, Any]) -> Statement:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    row = model(**{field.attname: Given(position) for position, field in enumerate(fields)})
    query = InsertQuery(model)
    query.insert_values(fields, [row])
    compiler = query.get_compiler(connection=connection)
    compiler.returning_fields = [model._meta.pk]
    return Statement(*read_places(connection, *compiler.as_sql()[0]))


def list_givens(make: Callable[..., Any]) -> list[Given]:
    positional = [name for name, row in signature(make).parameters.items() if row.kind in POSITIONAL]
    return [Given(position) for position in range(len(positional))]


def read_places(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> tuple[str, tuple[int, ...]]:
    """Write the constants of a statement into it, and return it with the positions of the values it still needs."""
    quote = connection.schema_editor().quote_value
    texts = ["%s" if isinstance(param, Given) else quote(param).replace("%", "%%") for param in params]
    return sql.replace("%%", "%%%%") % tuple(texts), tuple(
        param.position for param in params if isinstance(param, Given)
    )


def adapt(values: list[Any], connection: BaseDatabaseWrapper) -> list[Any]:
    """Return values as the database's driver takes them; PostgreSQL's takes all there are."""
    if connection.vendor == "postgresql":
        return values
    adapt_one = connection.ops.adapt_unknown_value
    return [value.hex if isinstance(value, uuid.UUID) else adapt_one(value) for value in values]
