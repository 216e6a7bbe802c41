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

from collections.abc import Callable, Sequence
from functools import update_wrapper
from inspect import Parameter, signature
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Model, QuerySet
from django.db.models.sql import InsertQuery, UpdateQuery

from labeling.maker import Maker
from labeling.prepared import Rows
from labeling.running import Later, Read, Statement

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


class CompiledRead(Generic[P, Row]):
    """A function that returned a queryset: it takes its values and returns its rows."""

    def __init__(self, make: Callable[P, QuerySet[Row]]) -> None:
        self.make = make
        update_wrapper(self, make)

    def find(self, shape: dict[str, Any]) -> Read:
        return cast(Read, find_compiled(connections["default"], self.make, shape, compile_read))

    def __call__(self, *values: P.args, **shape: P.kwargs) -> list[Row]:
        return list(self.find(shape).fetch(connections["default"], values))

    def later(self, *values: P.args, **shape: P.kwargs) -> Callable[[], list[Row]]:
        """Read with the statement that comes next, and return what returns the rows; elsewhere than on PostgreSQL, then."""
        return self.find(shape).fetch_later(connections["default"], values)


def compiled(make: Callable[P, QuerySet[Row]]) -> CompiledRead[P, Row]:
    """Make a function that returns a queryset one that takes its values and returns its rows."""
    return CompiledRead(make)


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


def insert_later(row: Model) -> Later:
    """Store a new row whose key the database makes, as save() does where nobody listens to signals, with the statement that
    comes next in this transaction, or at its end; it has its key only then."""
    connection = connections["default"]
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    values = [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields]
    statement = find_compiled(connection, type(row), {}, compile_insert)

    def keep(rows: Rows) -> None:
        ((row.pk,),) = rows
        row._state.adding, row._state.db = False, connection.alias

    return cast(Later, statement.run_later(connection, values, keep))


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
