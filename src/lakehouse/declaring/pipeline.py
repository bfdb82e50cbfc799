"""A pipeline: the tables that a user declares, and the graph that their inputs make."""

import fnmatch
import graphlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack

from asgard.common import arguments
from asgard.common.arguments import Misfit, Shape, declares, optional
from asgard.common.errors import DeclarationError, UsageError
from asgard.common.names import TableName, check_identifier
from asgard.common.places import calling_place
from asgard.lakehouse.declaring.declaration import NAME, PROPERTIES, Properties, Table, declare_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard.validation.checks import Check

    TableFunction = Callable[..., DataFrame]


class Extra(Protocol):
    """What a pipeline can declare besides its tables, by higher layers: feature views, models."""

    @property
    def name(self) -> str:
        """Unique among the pipeline's extras of all kinds."""


_E = TypeVar("_E", bound=Extra)


def _undecorated(value: Any) -> Any:
    if callable(value):
        raise Misfit("Write @pipeline.table('layer.name', ...) on the line above the function.")
    return NAME.take(value)


def _function(value: Any) -> Any:
    raise Misfit("Write @pipeline.table('layer.name', ...) on the line above the function, and leave it out here.")


def _extra(value: Any) -> Any:
    if not isinstance(getattr(value, "name", None), str):
        raise Misfit
    return value


_DECORATED = Shape(NAME.words, NAME.example, _undecorated)
_BELOW = optional(Shape("the function to be below the decorator", "None", _function))
_EXTRA = Shape("the result of feature_view(...), model(...) or the like", "feature_view(...)", _extra)


class Pipeline:
    """Tables that belong together, declared in a user's module.

    Args:
        name: of the pipeline, `[a-z][a-z0-9_]*`.
        **defaults: arguments of `declare_table` that every table of this pipeline gets unless it
            has its own, e.g. `owner="data-team"`, `start="2024-01-01"`.

    Raises:
        UsageError: the name is not an identifier.
    """

    @declares("Pipeline {name}", name=arguments.text("'retail'"), further=PROPERTIES)
    def __init__(self, name: str, **defaults: Unpack[Properties]) -> None:
        self.name = check_identifier(name, "pipeline name")
        self._defaults = defaults
        self._tables: dict[TableName, Table] = {}
        self._extras: dict[str, Extra] = {}
        self._waiting: dict[str, str] = {}

    @declares("Table {name}", name=_DECORATED, function=_BELOW, further=PROPERTIES)
    def table(
        self, name: str, function: None = None, **properties: Unpack[Properties]
    ) -> "Callable[[TableFunction], TableFunction]":
        """Declare the decorated function as the table `name`; see `asgard.Table` for the properties.

        Raises:
            DeclarationError: the declaration can't work, or the name is declared already.
        """
        _ = function  # always None: the function is decorated

        def register(function: "TableFunction") -> "TableFunction":
            self._waiting.pop(name, None)
            called = getattr(function, "__qualname__", type(function).__name__)
            self._add(name, function, properties, f"{getattr(function, '__module__', '?')}.{called}")
            return function

        self._waiting[name] = str(calling_place() or "")
        return register

    @declares("Table {name}", name=NAME, further=PROPERTIES)
    def source(self, name: str, **properties: Unpack[Properties]) -> None:
        """Declare a table that `asgard ingest` fills.

        Raises:
            DeclarationError: the declaration can't work, or the name is declared already.
        """
        self._add(name, None, properties, "source")

    @declares(
        "Pipeline.sql",
        path=arguments.instance((str, Path), "the path of a .sql file", "'tables/sales.sql'"),
        checks=PROPERTIES["checks"],
    )
    def sql(self, path: str | Path, *, checks: "Iterable[Check]" = ()) -> None:
        """Declare a table from a `.sql` file whose header names its properties.

        Args:
            path: of the file; see `asgard.lakehouse.declaring.sql_files` for its form.
            checks: in addition to those of its header.

        Raises:
            DeclarationError: the file can't be read, or declares something that can't work.
        """
        from asgard.lakehouse.declaring.sql_files import read_sql_file

        declared = read_sql_file(Path(path))
        properties: Properties = {**declared.properties, "checks": (*declared.checks, *checks)}
        self._add(declared.name, declared.function, properties, str(path))

    @declares("Pipeline.add", extra=_EXTRA)
    def add(self, extra: _E) -> _E:
        """Declare something that reads the tables, e.g. a feature view; returns it.

        Raises:
            DeclarationError: the pipeline has something of this name already.
        """
        if extra.name in self._extras:
            raise DeclarationError(
                f"{extra.name} is declared twice in pipeline {self.name}.", hint="Rename one of them."
            )
        self._extras[extra.name] = extra
        return extra

    @property
    def extras(self) -> tuple[Extra, ...]:
        """The declarations that were added, in order."""
        return tuple(self._extras.values())

    @property
    def tables(self) -> Mapping[TableName, Table]:
        """The declared tables by name."""
        return self._tables

    def __getitem__(self, name: TableName | str) -> Table:
        key = TableName.parse(name) if isinstance(name, str) else name
        if key not in self._tables:
            raise UsageError(
                f"Pipeline {self.name} declares no table {key}.", hint=f"It declares {_listing(self._tables)}."
            )
        return self._tables[key]

    def in_order(self) -> tuple[Table, ...]:
        """The tables, each after its inputs.

        Raises:
            DeclarationError: an input is not declared, inputs form a cycle, or a table was given no function; the
                message names it.
        """
        for name, place in self._waiting.items():
            raise DeclarationError(
                f"Table {name}: {self.name}.table(...) decorates no function{f' ({place})' if place else ''}.",
                hint=f"Write @{self.name}.table(...) on the line above the function, or {self.name}.source(...) if "
                "`asgard ingest` fills it.",
            )
        for table in self._tables.values():
            for parameter, source in table.inputs.items():
                if source not in self._tables:
                    raise DeclarationError(
                        f"Table {table.name}: its input {parameter!r} is {source}, which pipeline {self.name} "
                        "does not declare.",
                        hint=f"Declare it, e.g. {self.name}.source({str(source)!r}); "
                        f"declared are {_listing(self._tables)}.",
                    )
        graph = {table.name: sorted(set(table.inputs.values())) for table in self._tables.values()}
        try:
            return tuple(self._tables[name] for name in graphlib.TopologicalSorter(graph).static_order())
        except graphlib.CycleError as error:
            circle = " -> ".join(str(name) for name in reversed(error.args[1]))
            raise DeclarationError(
                f"The inputs of pipeline {self.name} form a cycle: {circle}.", hint="Take one of these inputs out."
            ) from error

    def upstream(self, name: TableName) -> frozenset[TableName]:
        """Every table that `name` is computed from, directly or indirectly."""
        return _reach(name, lambda table: self._tables[table].inputs.values())

    def downstream(self, name: TableName) -> frozenset[TableName]:
        """Every table that is computed from `name`, directly or indirectly."""
        return _reach(name, lambda table: (t.name for t in self._tables.values() if table in t.inputs.values()))

    def select(self, patterns: Iterable[str] = ()) -> tuple[Table, ...]:
        """The tables that the patterns name, each after its inputs; all tables if there are no patterns.

        Args:
            patterns: `gold.customer_metrics`, `gold.*`; `+` before it adds everything upstream, `+` after
                it everything downstream.

        Raises:
            UsageError: a pattern names no table.
            DeclarationError: as for `in_order`.
        """
        ordered = self.in_order()
        wanted = {name for pattern in patterns for name in self._matches(pattern)}
        return tuple(table for table in ordered if table.name in wanted) if wanted else ordered

    def _matches(self, pattern: str) -> Iterator[TableName]:
        core = pattern.removeprefix("+").removesuffix("+")
        matching = [name for name in self._tables if fnmatch.fnmatchcase(str(name), core)]
        if not matching:
            raise UsageError(
                f"{pattern!r} selects no table of pipeline {self.name}.", hint=f"It declares {_listing(self._tables)}."
            )
        for name in matching:
            yield name
            if pattern.startswith("+"):
                yield from self.upstream(name)
            if pattern.endswith("+"):
                yield from self.downstream(name)

    def _add(self, name: str, function: "TableFunction | None", properties: Properties, module: str) -> None:
        all_properties: Properties = {**self._defaults, **properties}
        table = declare_table(name, function, module=module, pipeline=self.name, **all_properties)
        if table.name in self._tables:
            raise DeclarationError(
                f"Table {name} is declared twice: in {self._tables[table.name].module} and in {module}.",
                hint="Rename one of them.",
            )
        self._tables[table.name] = table


def _reach(start: TableName, neighbours: Callable[[TableName], Iterable[TableName]]) -> frozenset[TableName]:
    tables: set[TableName] = set()
    open_ends = [start]
    while open_ends:
        for name in neighbours(open_ends.pop()):
            if name not in tables:
                tables.add(name)
                open_ends.append(name)
    return frozenset(tables)


def _listing(names: Iterable[TableName]) -> str:
    return ", ".join(sorted(map(str, names))) or "no table at all"
